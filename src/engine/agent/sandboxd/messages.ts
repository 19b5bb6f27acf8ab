/** Messages of process.v1.ProcessService (contract section 4.3; numbers as in the descriptor that the Python SDK 1.0.8 carries). */
import { bytesField, numberField, readFields, toBytes, toInt32 } from './protobuf.ts';

/** What to run. */
export interface ProcessConfig {
  command: string[];
  environment: Record<string, string>;
  workingDirectory?: string;
}

/** Size of a terminal in characters. */
export interface TerminalSize {
  columns: number;
  rows: number;
}

/** What happens to a started process, in this order: init, output, exit. */
export type StartEvent = { init: number } | { stdout: Buffer } | { stderr: Buffer } | { exit: number };

/** ExecuteRequest and StartRequest: the same but for the terminal. @throws ProtobufError */
export function readStart(message: Buffer): { config: ProcessConfig; terminal?: TerminalSize } {
  const start: { config: ProcessConfig; terminal?: TerminalSize } = { config: { command: [], environment: {} } };
  for (const { number, value } of readFields(message)) {
    if (number === 1) start.config = readConfig(toBytes(value));
    if (number === 2) start.terminal = readSize(toBytes(value), 1);
  }
  return start;
}

function readConfig(message: Buffer): ProcessConfig {
  const config: ProcessConfig = { command: [], environment: {} };
  for (const { number, value } of readFields(message)) {
    const bytes = toBytes(value);
    if (number === 1) config.command.push(bytes.toString());
    if (number === 2) {
      const entry = new Map(readFields(bytes).map((field) => [field.number, toBytes(field.value).toString()]));
      config.environment[entry.get(1) ?? ''] = entry.get(2) ?? '';
    }
    if (number === 3) config.workingDirectory = bytes.toString();
  }
  return config;
}

function readSize(message: Buffer, columnsField: number): TerminalSize {
  const numbers = new Map(readFields(message).map(({ number, value }) => [number, toInt32(value)]));
  return { columns: numbers.get(columnsField) ?? 0, rows: numbers.get(columnsField + 1) ?? 0 };
}

/** WriteStdinRequest; without `input` it is the end of the input. @throws ProtobufError */
export function readInput(message: Buffer): { processId: number; input?: Buffer } {
  const request: { processId: number; input?: Buffer } = { processId: 0 };
  let ends = false;
  for (const { number, value } of readFields(message)) {
    if (number === 1) request.processId = toInt32(value);
    if (number === 2) request.input = toBytes(value);
    if (number === 3) ends = true;
  }
  if (ends) delete request.input;
  else request.input ??= Buffer.alloc(0);
  return request;
}

/** SendSignalRequest. @throws ProtobufError */
export function readSignal(message: Buffer): { processId: number; signal: number } {
  const numbers = new Map(readFields(message).map(({ number, value }) => [number, toInt32(value)]));
  return { processId: numbers.get(1) ?? 0, signal: numbers.get(2) ?? 0 };
}

/** ResizeTTYRequest. @throws ProtobufError */
export function readResize(message: Buffer): { processId: number; size: TerminalSize } {
  const numbers = new Map(readFields(message).map(({ number, value }) => [number, toInt32(value)]));
  return { processId: numbers.get(1) ?? 0, size: readSize(message, 2) };
}

/** StartResponse. */
export function writeEvent(event: StartEvent): Buffer {
  if ('init' in event) return bytesField(1, numberField(1, event.init));
  if ('stdout' in event) return bytesField(2, event.stdout);
  if ('stderr' in event) return bytesField(3, event.stderr);
  return bytesField(4, numberField(1, event.exit));
}

/** ExecuteResponse. */
export function writeResult(exitCode: number, stdout: Buffer, stderr: Buffer): Buffer {
  return Buffer.concat([
    numberField(1, exitCode),
    ...(stdout.length === 0 ? [] : [bytesField(2, stdout)]),
    ...(stderr.length === 0 ? [] : [bytesField(3, stderr)]),
  ]);
}
