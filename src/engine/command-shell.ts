import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { withUsualPriority } from './priority.ts';

/**
 * Runs commands through one small shell that stays. Starting a process costs this program, with its hundreds of megabytes of page tables, about 8 ms in which
 * it does nothing else; the shell needs under 1 ms. So whatever a waking caller waits for goes this way.
 */
export interface CommandShell {
  /**
   * Runs a script of POSIX shell in a subshell of its own, beside all others, without standard input and output. Resolves with its exit code, 137 if it was
   * given up after `timeoutMs`, and what it said on standard error. What it started is not ended then: see {@link bounded}. @throws Error if there is no shell
   */
  run(script: string, timeoutMs: number): Promise<{ exitCode: number; stderr: string }>;
  close(): void;
}

/** A shell that starts with the first script; `directory` holds what scripts say until it is read. */
export function createCommandShell(directory: string): CommandShell {
  const waiting = new Map<number, (exitCode: number) => void>();
  let shell: ChildProcess | undefined;
  let last = 0;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true, mode: 0o700 });

  function start(): ChildProcess {
    // In a session of its own: a terminal's Ctrl-C must not reach what is started through it.
    const child = withUsualPriority(() =>
      spawn('/bin/sh', [], { detached: true, stdio: ['pipe', 'pipe', 'ignore'], cwd: '/' }),
    );
    let unread = '';
    child.stdout.on('data', (chunk: Buffer) => {
      const lines = (unread + chunk.toString()).split('\n');
      unread = lines.pop() ?? '';
      for (const line of lines) {
        const [id = '', exitCode = ''] = line.split(' ');
        waiting.get(Number(id))?.(Number(exitCode));
      }
    });
    const gone = () => {
      if (shell === child) shell = undefined;
      for (const settle of [...waiting.values()]) settle(137);
    };
    child.on('error', gone).on('exit', gone);
    child.stdin.on('error', () => {});
    return child;
  }

  return {
    run: (script, timeoutMs) =>
      new Promise((resolve) => {
        const id = ++last;
        const saidPath = join(directory, String(id));
        const settle = (exitCode: number) => {
          waiting.delete(id);
          clearTimeout(timer);
          const stderr = exitCode !== 0 && existsSync(saidPath) ? readFileSync(saidPath, 'utf8') : '';
          rmSync(saidPath, { force: true });
          resolve({ exitCode, stderr });
        };
        const timer = setTimeout(() => settle(137), timeoutMs);
        waiting.set(id, settle);
        shell ??= start();
        shell.stdin?.write(`{ (\n${script}\n) </dev/null >/dev/null 2>${quoted([saidPath])}; echo "${id} $?"; } &\n`);
      }),
    close: () => {
      shell?.stdin?.end();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Words of a command line for a POSIX shell. */
export function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
}

/** Words of a command line that is killed after a time, whatever has become of this program; its exit code is 137 then. */
export function bounded(words: readonly string[], timeoutMs: number): string {
  return quoted(['timeout', '-s', 'KILL', String(Math.ceil(timeoutMs / 1000)), ...words]);
}
