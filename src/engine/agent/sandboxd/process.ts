import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { GrpcError, Status } from './grpc.ts';
import type { ProcessConfig, TerminalSize } from './messages.ts';

/** A process that somebody started and may write to, signal and resize. */
export interface RunningProcess {
  id: number;
  child: ChildProcess;
  write(input: Buffer): Promise<void>;
  /** No more input. */
  endInput(): void;
  /** To its whole process group. */
  signal(signal: number): void;
  /** @throws GrpcError FAILED_PRECONDITION without a terminal */
  resize(size: TerminalSize): void;
  /** Exit code, 128 and the signal's number where one ended it; resolves after all output was read. */
  exited: Promise<number>;
}

/** Gives a program a terminal: Node has no call for that, Python has. */
const TERMINAL_HELPER = fileURLToPath(new URL('../bin/sandbox-router-terminal', import.meta.url));
/** Ctrl-D, by which a terminal ends the input. */
const END_OF_INPUT = Buffer.from([4]);

/** Starts a program in a process group of its own. @throws GrpcError INVALID_ARGUMENT, NOT_FOUND */
export async function startProcess(
  { command, environment }: ProcessConfig,
  workingDirectory: string,
  terminal: TerminalSize | undefined,
): Promise<RunningProcess> {
  const [program, ...rest] = command;
  if (program === undefined || program === '')
    throw new GrpcError(Status.INVALID_ARGUMENT, 'config.command: at least the program is needed');
  if (command.some((part) => part.includes('\0')))
    throw new GrpcError(Status.INVALID_ARGUMENT, 'config.command: it must not hold a NUL');
  const strange = Object.keys(environment).find((name) => name === '' || /[=\0]/.test(name));
  if (strange !== undefined)
    throw new GrpcError(
      Status.INVALID_ARGUMENT,
      `config.env_vars: ${JSON.stringify(strange)} is no name of a variable`,
    );
  const options = {
    cwd: workingDirectory,
    env: { ...process.env, ...(terminal === undefined ? {} : { TERM: 'xterm-256color' }), ...environment },
    detached: true,
  };
  const child =
    terminal === undefined
      ? spawn(program, rest, { ...options, stdio: ['pipe', 'pipe', 'pipe'] })
      : spawn(TERMINAL_HELPER, [String(terminal.columns), String(terminal.rows), ...command], {
          ...options,
          stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
        });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error: NodeJS.ErrnoException) => reject(cannotStart(error, program, terminal !== undefined)));
  });
  const id = child.pid as number;
  const control = terminal === undefined ? undefined : (child.stdio[3] as Writable);
  for (const stream of [child.stdin, control]) stream?.on('error', () => {});
  return {
    id,
    child,
    write: (input) =>
      new Promise((resolve, reject) => {
        if (child.stdin?.writable !== true)
          reject(new GrpcError(Status.FAILED_PRECONDITION, `the input of process ${id} has ended`));
        else child.stdin.write(input, (error) => (error ? reject(gone(id)) : resolve()));
      }),
    endInput: () => {
      if (terminal === undefined) child.stdin?.end();
      else child.stdin?.write(END_OF_INPUT);
    },
    signal: (signal) => {
      if (control !== undefined) control.write(`signal ${signal}\n`);
      else killGroup(id, signal);
    },
    resize: ({ columns, rows }) => {
      if (control === undefined)
        throw new GrpcError(Status.FAILED_PRECONDITION, `process ${id} was started without a terminal`);
      control.write(`size ${columns} ${rows}\n`);
    },
    exited: new Promise((resolve) => {
      child.once('close', (code, endedBy) =>
        resolve(code ?? 128 + (endedBy === null ? 0 : constants.signals[endedBy])),
      );
    }),
  };
}

/** Ends a process and all of its group, now. */
export function killProcess({ signal }: RunningProcess): void {
  signal(constants.signals.SIGKILL);
}

function killGroup(id: number, signal: number): void {
  try {
    process.kill(-id, signal);
  } catch {
    // It ended by itself.
  }
}

function gone(id: number): GrpcError {
  return new GrpcError(Status.NOT_FOUND, `process ${id} has ended`);
}

function cannotStart(error: NodeJS.ErrnoException, program: string, terminal: boolean): GrpcError {
  if (terminal)
    return new GrpcError(Status.FAILED_PRECONDITION, `terminals need python3 in this image: ${error.message}`);
  if (error.code === 'ENOENT') return new GrpcError(Status.NOT_FOUND, `there is no program ${program}`);
  return new GrpcError(Status.INVALID_ARGUMENT, `${program} can't be started: ${error.message}`);
}
