import { existsSync, readFileSync } from 'node:fs';
import { type CommandShell, quoted } from '../../command-shell.ts';
import { NOT_JOINED } from '../cgroups/index.ts';
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
  /** Starts containers. */
  shell: CommandShell;
}

/** Longest waits for runsc. A checkpoint or restore of gigabytes takes seconds; nothing takes minutes. */
export const RUNSC_TIMEOUT_MS = 60_000;

/** Flags before the subcommand. */
export function globalFlags(runsc: Runsc): string[] {
  return [
    `--root=${runsc.rootDirectory}`,
    `--platform=${runsc.platform}`,
    '--network=sandbox',
    // Without it connections survive the first checkpoint of a container, and no later one.
    '--allow-connected-on-save',
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
 * `joining` begins the script that makes the call.
 * @throws RuntimeError with what runsc said
 */
export async function startWithRunsc(
  runsc: Runsc,
  failureCode: string,
  commandLine: string[],
  logPath: string,
  messagesPath: string,
  joining = '',
): Promise<void> {
  const flags = [...globalFlags(runsc), `--log=${messagesPath}`, '--log-format=json', '--alsologtostderr=false'];
  const command = quoted([runsc.path, ...flags, ...commandLine]);
  const script = `umask 077; ${joining}exec ${command} >>${quoted([logPath])} 2>&1`;
  const { exitCode, stderr } = await runsc.shell.run(script, RUNSC_TIMEOUT_MS);
  if (exitCode === 0) return;
  if (exitCode === NOT_JOINED) throw new RuntimeError('start_failed', `its cgroup can't be entered: ${stderr.trim()}`);
  if (exitCode === 137)
    throw new RuntimeError(
      'timeout',
      `runsc ${commandLine[0]} gave no answer within ${RUNSC_TIMEOUT_MS} ms: ${lastMessage(messagesPath)}`,
    );
  if (exitCode === 126 || exitCode === 127)
    throw new RuntimeError('runtime_unavailable', `${runsc.path} can't be started: ${stderr.trim()}`);
  throw new RuntimeError(failureCode, lastMessage(messagesPath));
}

/** The last error in runsc's JSON log. */
export function lastMessage(path: string): string {
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
