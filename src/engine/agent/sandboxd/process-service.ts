import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { AccessDeniedError, type Workspace } from '../workspace.ts';
import { type Call, GrpcError, type Method, Status } from './grpc.ts';
import { readInput, readResize, readSignal, readStart, type StartEvent, writeEvent, writeResult } from './messages.ts';
import { killProcess, type RunningProcess, startProcess } from './process.ts';

/** Output of Execute: clients take messages of 4 MiB by default, with some room for their frame. */
const MOST_OUTPUT_BYTES = 4 * 2 ** 20 - 1024;
const SERVICE = '/process.v1.ProcessService';
const SIGNALS = [2, 9, 15];
const LARGEST_TERMINAL = 65_535;

/** process.v1.ProcessService (contract section 4.3) over a workspace, which is where programs run unless they ask for a directory in it. */
export function createProcessService(workspace: Workspace): Map<string, Method> {
  const processes = new Map<number, RunningProcess>();

  /** Starts what a request asks for; the process and what it started are killed when the caller leaves or the deadline passes. */
  async function begin(request: Buffer, { signal }: Call, withTerminal: boolean): Promise<RunningProcess> {
    const { config, terminal } = readStart(request);
    if (withTerminal && terminal !== undefined) requireSize(terminal);
    const directory = await directoryOf(workspace, config.workingDirectory ?? '');
    signal.throwIfAborted();
    const process = await startProcess(config, directory, withTerminal ? terminal : undefined);
    processes.set(process.id, process);
    const kill = () => killProcess(process);
    if (signal.aborted) kill();
    signal.addEventListener('abort', kill, { once: true });
    process.exited.then(() => {
      signal.removeEventListener('abort', kill);
      processes.delete(process.id);
    });
    return process;
  }

  function find(id: number): RunningProcess {
    const process = processes.get(id);
    if (process === undefined) throw new GrpcError(Status.NOT_FOUND, `there is no process ${id}`);
    return process;
  }

  const start: Method = async (request, call) => {
    const process = await begin(request, call, true);
    const send = (event: StartEvent) => call.send(writeEvent(event));
    await send({ init: process.id });
    await Promise.all([
      forward(process.child.stdout, (stdout) => send({ stdout })),
      forward(process.child.stderr, (stderr) => send({ stderr })),
    ]);
    await send({ exit: await process.exited });
  };

  const execute: Method = async (request, call) => {
    const process = await begin(request, call, false);
    process.endInput();
    let sizeBytes = 0;
    const collected = async (stream: Readable | null): Promise<Buffer> => {
      const chunks: Buffer[] = [];
      await forward(stream, async (chunk) => {
        sizeBytes += chunk.length;
        if (sizeBytes > MOST_OUTPUT_BYTES) killProcess(process);
        else chunks.push(chunk);
      });
      return Buffer.concat(chunks);
    };
    const [stdout, stderr] = await Promise.all([collected(process.child.stdout), collected(process.child.stderr)]);
    const exitCode = await process.exited;
    call.signal.throwIfAborted();
    if (sizeBytes > MOST_OUTPUT_BYTES)
      throw new GrpcError(
        Status.RESOURCE_EXHAUSTED,
        `the command was killed: its output is over ${MOST_OUTPUT_BYTES} bytes, more than one message holds. Use Start, or write to a file.`,
      );
    await call.send(writeResult(exitCode, stdout, stderr));
  };

  const answering =
    (act: (request: Buffer) => Promise<void> | void): Method =>
    async (request, call) => {
      await act(request);
      await call.send(Buffer.alloc(0));
    };

  return new Map<string, Method>([
    [`${SERVICE}/Start`, start],
    [`${SERVICE}/Execute`, execute],
    [
      `${SERVICE}/WriteStdin`,
      answering(async (request) => {
        const { processId, input } = readInput(request);
        const process = find(processId);
        if (input === undefined) process.endInput();
        else await process.write(input);
      }),
    ],
    [
      `${SERVICE}/SendSignal`,
      answering((request) => {
        const { processId, signal } = readSignal(request);
        if (!SIGNALS.includes(signal))
          throw new GrpcError(Status.INVALID_ARGUMENT, `signal: ${signal} is none of SIGINT, SIGKILL and SIGTERM`);
        find(processId).signal(signal);
      }),
    ],
    [
      `${SERVICE}/ResizeTTY`,
      answering((request) => {
        const { processId, size } = readResize(request);
        requireSize(size);
        find(processId).resize(size);
      }),
    ],
  ]);
}

function requireSize({ columns, rows }: { columns: number; rows: number }): void {
  for (const [name, value] of Object.entries({ cols: columns, rows }))
    if (value < 0 || value > LARGEST_TERMINAL)
      throw new GrpcError(Status.INVALID_ARGUMENT, `${name}: ${value} is not between 0 and ${LARGEST_TERMINAL}`);
}

async function directoryOf(workspace: Workspace, path: string): Promise<string> {
  try {
    const directory = await workspace.resolve(path);
    if ((await stat(directory)).isDirectory()) return directory;
    throw new GrpcError(Status.INVALID_ARGUMENT, `config.cwd: ${path} is no directory`);
  } catch (error) {
    if (error instanceof AccessDeniedError)
      throw new GrpcError(Status.PERMISSION_DENIED, `config.cwd: ${path} is outside the sandbox root`);
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new GrpcError(Status.NOT_FOUND, `config.cwd: ${path} does not exist`);
    throw error;
  }
}

/** Hands on all that a stream gives, no faster than it is taken. What nobody takes any more is read to its end, so that the process can end. */
async function forward(stream: Readable | null, take: (chunk: Buffer) => Promise<void>): Promise<void> {
  if (stream === null) return;
  let failure: unknown;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (failure !== undefined) continue;
    await take(chunk).catch((error) => {
      failure = error;
    });
  }
  if (failure !== undefined) throw failure;
}
