import { once } from 'node:events';
import type { Readable } from 'node:stream';
import type { WebSocket } from '@fastify/websocket';
import type { Status } from '../../../kubernetes/index.ts';
import { internalError } from '../errors.ts';
import type { RunningCommand } from './pod-streams.ts';
import { receiveInOrder, sendBinary } from './web-socket.ts';

/** Protocols of exec and attach, the best first: from v5 on a client can end the input. */
export const CHANNEL_PROTOCOLS: readonly string[] = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];

/** First byte of every message (k8s.io/apimachinery pkg/util/remotecommand). */
const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;
const CLOSE = 255;

/** Which streams the client asked for. */
export interface WantedStreams {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
}

/** Connects a client with a command until the command ends, tells how it ended, and closes the socket. A client that leaves ends the command. */
export async function serveCommand(
  socket: WebSocket,
  start: () => Promise<RunningCommand>,
  wanted: WantedStreams,
): Promise<void> {
  const starting = start();
  receiveInOrder(socket, async (message) => {
    const command = await starting.catch(() => undefined);
    if (command !== undefined) await receive(command, message, wanted.stdin);
  });
  let command: RunningCommand | undefined;
  socket.on('close', () => command?.kill());
  try {
    // The first message tells that the connection stands.
    await sendBinary(socket, Buffer.of(STDOUT));
    command = await starting;
    if (socket.readyState !== socket.OPEN) return command.kill();
    command.stdin.on('error', () => {});
    if (!wanted.stdin) command.stdin.end();
    const outputs = [
      forward(socket, STDOUT, command.stdout, wanted.stdout),
      ...(command.stderr === undefined ? [] : [forward(socket, STDERR, command.stderr, wanted.stderr)]),
    ];
    const exitCode = await command.exited;
    await Promise.all(outputs);
    await finish(socket, exitStatus(exitCode));
  } catch (error) {
    command?.kill();
    await finish(socket, internalError(error).status).catch(() => {});
  }
}

/** Sends a log as output until it ends or the client leaves. */
export async function serveOutput(socket: WebSocket, output: AsyncIterable<Buffer>): Promise<void> {
  receiveInOrder(socket, () => {});
  try {
    await sendBinary(socket, Buffer.of(STDOUT));
    for await (const chunk of output) await sendBinary(socket, Buffer.concat([Buffer.of(STDOUT), chunk]));
    await finish(socket, exitStatus(0));
  } catch (error) {
    await finish(socket, internalError(error).status).catch(() => {});
  }
}

async function receive(command: RunningCommand, message: Buffer, stdinWanted: boolean): Promise<void> {
  const channel = message[0];
  const content = message.subarray(1);
  if (channel === STDIN && stdinWanted) {
    if (content.length > 0 && command.stdin.writable && !command.stdin.write(content))
      await Promise.race([once(command.stdin, 'drain'), once(command.stdin, 'close')]).catch(() => {});
  } else if (channel === CLOSE && content[0] === STDIN) command.stdin.end();
  else if (channel === RESIZE) {
    const { Width: columns, Height: rows } = JSON.parse(content.toString()) as { Width?: unknown; Height?: unknown };
    if (isSize(columns) && isSize(rows)) command.resize(columns, rows);
  }
}

function isSize(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= 0xffff;
}

async function forward(socket: WebSocket, channel: number, output: Readable, wanted: boolean): Promise<void> {
  for await (const chunk of output) {
    if (wanted) await sendBinary(socket, Buffer.concat([Buffer.of(channel), chunk as Buffer]));
  }
}

async function finish(socket: WebSocket, status: object): Promise<void> {
  await sendBinary(socket, Buffer.concat([Buffer.of(ERROR), Buffer.from(JSON.stringify(status))]));
  socket.close(1000);
}

/** How a command ended, in the words that kubectl takes its exit code from. */
function exitStatus(exitCode: number): Partial<Status> {
  if (exitCode === 0) return { metadata: {}, status: 'Success' };
  return {
    metadata: {},
    status: 'Failure',
    reason: 'NonZeroExitCode',
    message: `command terminated with non-zero exit code: exit status ${exitCode}`,
    details: { causes: [{ reason: 'ExitCode', message: String(exitCode) }] },
  };
}
