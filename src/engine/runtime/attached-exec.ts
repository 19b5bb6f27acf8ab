import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { quoted } from '../command-shell.ts';
import { withUsualPriority } from '../priority.ts';
import { type AttachedExec, RuntimeError } from './runtime.ts';

/** How to start a command that somebody is attached to. */
export interface AttachedExecOptions {
  terminal: boolean;
  environment?: NodeJS.ProcessEnv;
  workingDirectory?: string;
}

/** util-linux's `script`, which gives a command a terminal; Node can't make one. */
const TERMINAL_PROGRAM = '/usr/bin/script';
/** How long a terminal is looked for after its program was started. */
const TERMINAL_WAIT_MS = 2000;

/** Starts a command line of this machine in a session of its own. @throws RuntimeError `terminal_unavailable`, or `start_failed` where it can't be started */
export async function attachedExec(commandLine: string[], options: AttachedExecOptions): Promise<AttachedExec> {
  const { terminal, workingDirectory = '/' } = options;
  if (terminal && (process.platform !== 'linux' || !existsSync(TERMINAL_PROGRAM)))
    throw new RuntimeError('terminal_unavailable', `terminals need ${TERMINAL_PROGRAM} (util-linux) on this machine`);
  const [program = '', ...rest] = terminal ? inTerminal(commandLine) : commandLine;
  const environment = options.environment ?? process.env;
  const child = withUsualPriority(() =>
    spawn(program, rest, {
      detached: true,
      cwd: workingDirectory,
      env: terminal ? { TERM: 'xterm', ...environment, SHELL: '/bin/sh' } : environment,
    }),
  );
  await started(child);
  const { promise: exited, resolve } = Promise.withResolvers<number>();
  child.on('exit', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 143)));
  const terminalPath = terminal ? findTerminal(child) : undefined;
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    ...(terminal ? {} : { stderr: child.stderr }),
    resize: (columns, rows) => {
      void terminalPath?.then((path) => {
        if (path !== undefined) execFile('stty', ['-F', path, 'cols', String(columns), 'rows', String(rows)], () => {});
      });
    },
    exited,
    kill: () => {
      // A hang-up is what a terminal's programs expect of a terminal that goes away.
      child.kill(terminal ? 'SIGHUP' : 'SIGKILL');
      child.stdin.destroy();
    },
  };
}

/** Echo is the business of the terminal, also when this side is a pipe. */
function inTerminal(commandLine: string[]): string[] {
  return [TERMINAL_PROGRAM, '-q', '-e', '-f', '-E', 'always', '-c', `exec ${quoted(commandLine)}`, '/dev/null'];
}

function started(child: ChildProcessWithoutNullStreams): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => reject(new RuntimeError('start_failed', error.message)));
  });
}

/** Path of the terminal that the program inside `script` has, once it is there. */
async function findTerminal({ pid = 0 }: ChildProcessWithoutNullStreams): Promise<string | undefined> {
  const deadline = performance.now() + TERMINAL_WAIT_MS;
  while (performance.now() < deadline) {
    try {
      const inside = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0] ?? '';
      const path = inside === '' ? '' : readlinkSync(`/proc/${inside}/fd/0`);
      if (path.startsWith('/dev/pts/')) return path;
    } catch {
      // Not there yet, or there no more.
      if (!existsSync(`/proc/${pid}`)) return undefined;
    }
    await delay(10);
  }
  return undefined;
}
