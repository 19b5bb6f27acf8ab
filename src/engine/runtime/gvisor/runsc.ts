import { existsSync, readFileSync } from 'node:fs';
import { bounded, type CommandShell, quoted } from '../../command-shell.ts';
import { NOT_JOINED } from '../cgroups/index.ts';
import { type CommandResult, runCommand, tryCommand } from '../command.ts';
import { RuntimeError } from '../runtime.ts';
import { OTHER_FAILED, waitingForOther } from './waiting-restore.ts';

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
/** What a shell needs at most to begin and end a call. */
export const SHELL_MS = 1000;

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

/** A call that starts a container. */
export interface RunscStart {
  /** Of the error, if it fails. */
  failureCode: string;
  commandLine: string[];
  /** The container's output goes there. runsc's own messages must not, so they are read from its log. */
  logPath: string;
  messagesPath: string;
  /** Script of shell by which it enters its cgroup. */
  joining?: string;
  /** Script of shell that is to be done before the container is made: runsc waits for the container's lock meanwhile. */
  beside?: string | undefined;
  lockPath: string;
}

/** Starts a container. @throws RuntimeError with what runsc said */
export async function startWithRunsc(runsc: Runsc, start: RunscStart): Promise<void> {
  const { failureCode, commandLine, logPath, messagesPath, joining = '', beside, lockPath } = start;
  const words = [runsc.path, ...globalFlags(runsc), ...messageFlags(messagesPath), ...commandLine];
  const call = `${joining}exec ${bounded(words, RUNSC_TIMEOUT_MS)} >>${quoted([logPath])} 2>&1`;
  const script = beside === undefined ? call : waitingForOther(call, beside, lockPath);
  const { exitCode, stderr } = await runsc.shell.run(`umask 077\n${script}`, RUNSC_TIMEOUT_MS + SHELL_MS);
  if (exitCode === 0) return;
  if (exitCode === OTHER_FAILED) throw new RuntimeError('start_failed', stderr.trim());
  if (exitCode === NOT_JOINED) throw new RuntimeError('start_failed', `its cgroup can't be entered: ${stderr.trim()}`);
  if (exitCode === 126 || exitCode === 127)
    throw new RuntimeError('runtime_unavailable', `${runsc.path} can't be started: ${stderr.trim()}`);
  throw failureOf(commandLine[0] ?? '', failureCode, exitCode, messagesPath);
}

/** Flags that send runsc's own messages to a file. */
export function messageFlags(messagesPath: string): string[] {
  return [`--log=${messagesPath}`, '--log-format=json', '--alsologtostderr=false'];
}

/** What a call that ended with this exit code failed for, by what it said; 137 is that of one that was given up. */
export function failureOf(
  subcommand: string,
  failureCode: string,
  exitCode: number,
  messagesPath: string,
): RuntimeError {
  const said = lastMessage(messagesPath);
  if (exitCode !== 137) return new RuntimeError(failureCode, said);
  return new RuntimeError('timeout', `runsc ${subcommand} gave no answer within ${RUNSC_TIMEOUT_MS} ms: ${said}`);
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
