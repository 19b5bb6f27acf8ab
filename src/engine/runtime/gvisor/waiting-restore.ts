import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { quoted } from '../../command-shell.ts';
import { withUsualPriority } from '../../priority.ts';

/** Which command waits, and where. */
export interface WaitingRestoreOptions {
  /** runsc's lock of the container: whoever loads the container needs it. */
  lockPath: string;
  /** Where the command's output goes. */
  outputPath: string;
  /** `runsc … restore … <id>`: its snapshot is looked up once it may go on. */
  command: readonly string[];
}

/** A `runsc restore` that was started ahead of time and waits for the lock of its container. */
export interface WaitingRestore {
  /** Whether it is still there. */
  waits(): boolean;
  /** Lets it go on; resolves with its exit code, 137 if it was given up after `timeoutMs`. */
  go(timeoutMs: number): Promise<number>;
  /** Ends it before it does anything; resolves once it is gone. */
  cancel(): Promise<void>;
}

/**
 * Takes the lock before runsc is started, and gives it back at a word from the engine. Without the engine there is no word, and runsc ends where it waits.
 * Needs `flock` of util-linux.
 */
const SCRIPT = `
umask 077
exec 9>>"$1" && flock -w 1 9 || exit 1
output=$2; shift 2
"$@" 9>&- </dev/null >>"$output" 2>&1 &
read -r word || { kill -KILL $!; exit 137; }
exec 9>&-
wait $!
`;

/** What a WaitingRestore takes in memory that it shares with nobody. */
export const WAITING_RESTORE_BYTES = 4 * 2 ** 20;

/** Starts a restore that waits: to start runsc takes some 10 ms of CPU, which need not be spent while somebody waits for the container. */
export function startWaitingRestore({ lockPath, outputPath, command }: WaitingRestoreOptions): WaitingRestore {
  const child = withUsualPriority(() =>
    spawn('/bin/sh', ['-c', SCRIPT, 'sh', lockPath, outputPath, ...command], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      cwd: '/',
    }),
  );
  let exitCode: number | undefined;
  const ended = once(child, 'exit').then(
    ([code]) => {
      exitCode = (code as number | null) ?? 137;
      return exitCode;
    },
    () => {
      exitCode = 127;
      return exitCode;
    },
  );
  child.stdin.on('error', () => {});

  return {
    waits: () => exitCode === undefined,
    go: async (timeoutMs) => {
      const timer = setTimeout(() => killGroup(child.pid), timeoutMs);
      child.stdin.end('go\n');
      const code = await ended;
      clearTimeout(timer);
      return code;
    },
    cancel: async () => {
      child.stdin.end();
      await ended;
    },
  };
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended just now.
  }
}

/** Exit code of {@link waitingForOther} where that other thing failed. */
export const OTHER_FAILED = 121;

/**
 * Script of shell that begins a call of runsc, and another thing that is to be done before the call makes its container: the call waits for the container's
 * lock meanwhile. It goes on if the other thing fails, too: what it makes then is to be removed.
 */
export function waitingForOther(call: string, other: string, lockPath: string): string {
  return `exec 9>>${quoted([lockPath])} && flock -w 1 9
( ${call} ) 9>&- &
( ${other}
) 9>&-
done=$?
exec 9>&-
wait $!
ended=$?
[ $done = 0 ] || exit ${OTHER_FAILED}
exit $ended`;
}
