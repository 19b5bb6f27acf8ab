import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { type CommandResult, runCommand, tryCommand } from '../command.ts';
import { RuntimeError } from '../runtime.ts';

/** One installation of runsc with the flags that all its calls share. */
export interface Runsc {
  path: string;
  platform: string;
  /** runsc's own state (`--root`): sockets and locks, gone after a reboot like the processes they stand for. */
  rootDirectory: string;
  /** Where the files that a container writes to its root live until they are checkpointed. */
  filestoreDirectory: string;
}

/** Longest waits for runsc. A checkpoint or restore of gigabytes takes seconds; nothing takes minutes. */
export const RUNSC_TIMEOUT_MS = 60_000;

/** Flags before the subcommand. */
export function globalFlags(runsc: Runsc): string[] {
  return [
    `--root=${runsc.rootDirectory}`,
    `--platform=${runsc.platform}`,
    '--network=sandbox',
    '--ignore-cgroups',
    `--overlay2=root:dir=${runsc.filestoreDirectory}`,
  ];
}

/** A call whose output matters. @throws RuntimeError with runsc's stderr */
export function callRunsc(runsc: Runsc, failureCode: string, commandLine: string[]): Promise<CommandResult> {
  return runCommand(runsc.path, [...globalFlags(runsc), ...commandLine], { timeoutMs: RUNSC_TIMEOUT_MS, failureCode });
}

/** A call that may fail. */
export function tryRunsc(
  runsc: Runsc,
  commandLine: string[],
  timeoutMs = RUNSC_TIMEOUT_MS,
  stdin?: Buffer,
): Promise<CommandResult> {
  const input = stdin === undefined ? {} : { stdin };
  return tryCommand(runsc.path, [...globalFlags(runsc), ...commandLine], {
    timeoutMs,
    failureCode: 'start_failed',
    ...input,
  });
}

/**
 * A call that starts a container: the container's output goes to `logPath`, which runsc's own messages must not reach, so they are read from runsc's log.
 * @throws RuntimeError with what runsc said
 */
export function startWithRunsc(
  runsc: Runsc,
  failureCode: string,
  commandLine: string[],
  logPath: string,
  messagesPath: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const output = openSync(logPath, 'a', 0o600);
    const flags = [...globalFlags(runsc), `--log=${messagesPath}`, '--log-format=json', '--alsologtostderr=false'];
    const child = spawn(runsc.path, [...flags, ...commandLine], {
      detached: true,
      stdio: ['ignore', output, output],
      cwd: '/',
    });
    closeSync(output);
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(
        new RuntimeError(
          'timeout',
          `runsc ${commandLine[0]} gave no answer within ${RUNSC_TIMEOUT_MS} ms: ${lastMessage(messagesPath)}`,
        ),
      );
    }, RUNSC_TIMEOUT_MS);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(new RuntimeError('runtime_unavailable', `${runsc.path} can't be started: ${error.message}`));
    });
    child.on('exit', (code) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(new RuntimeError(failureCode, lastMessage(messagesPath)));
    });
  });
}

/** The last error in runsc's JSON log. */
function lastMessage(path: string): string {
  if (!existsSync(path)) return 'runsc said nothing';
  const lines = readFileSync(path, 'utf8').trim().split('\n').slice(-50);
  for (const line of lines.toReversed()) {
    try {
      const { msg, level } = JSON.parse(line) as { msg?: string; level?: string };
      if (level === 'error' || level === 'fatal' || level === 'warning') return (msg ?? '').slice(0, 2000);
    } catch {
      // Not a message of its own: part of a stack.
    }
  }
  return lines.at(-1) ?? 'runsc said nothing';
}
