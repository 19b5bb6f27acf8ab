import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import type { WebSocket } from '@fastify/websocket';
import { createSpdyConnection, type SpdyStream } from './spdy-connection.ts';
import { receiveInOrder, sendBinary } from './web-socket.ts';

/** kubectl's protocol: SPDY inside WebSocket messages, one pair of streams a connection. */
export const TUNNEL_PROTOCOL = 'SPDY/3.1+portforward.k8s.io';
/** What other clients (Kubernetes' Python client) speak: one pair of channels a port, one connection each. */
export const PORT_CHANNEL_PROTOCOL = 'v4.channel.k8s.io';

/** Opens a connection to a port of the Pod. */
export type Connect = (port: number) => Promise<Duplex>;

/** The client's side of one forwarded connection. */
interface Client {
  port: number;
  send(chunk: Buffer): Promise<void>;
  /** All data was sent. */
  end(): void;
  /** The connection is over; with what went wrong. */
  close(problem?: string): void;
}

/** Forwards every connection that a client opens in a tunnel until it leaves. */
export function serveTunnel(socket: WebSocket, connect: Connect, podName: string): void {
  const halves = new Map<string, SpdyStream>();
  const connection = createSpdyConnection((frame) => sendBinary(socket, frame), pair);
  receiveInOrder(socket, (message) => connection.receive(message));
  socket.on('close', () => connection.close());

  function pair(stream: SpdyStream): void {
    const type = stream.headers.get('streamtype');
    if (type !== 'data' && type !== 'error') {
      stream.reset();
      return;
    }
    const request = stream.headers.get('requestid') ?? '';
    const other = halves.get(request);
    if (other === undefined) {
      halves.set(request, stream);
      stream.onReset = () => halves.delete(request);
      return;
    }
    halves.delete(request);
    const [data, errors] = type === 'data' ? [stream, other] : [other, stream];
    if (other.headers.get('streamtype') === type) {
      stream.reset();
      return;
    }
    errors.onReset = () => {};
    const port = Number(data.headers.get('port'));
    const client: Client = {
      port,
      send: data.send,
      end: data.end,
      close: (problem) => {
        const said =
          problem === undefined
            ? undefined
            : errors.send(Buffer.from(`error forwarding port ${port} to pod ${podName}: ${problem}`));
        void (said ?? Promise.resolve())
          .catch(() => {})
          .then(() => {
            errors.end();
            if (problem === undefined) data.end();
            else data.reset();
          });
      },
    };
    const server = open(client, connect);
    data.onData = async (chunk) => write(await server, chunk);
    data.onEnd = () => void server.then((opened) => opened?.end());
    data.onReset = () => void server.then((opened) => opened?.destroy());
  }
}

/** Forwards one connection to each port until the client leaves. */
export function servePortChannels(socket: WebSocket, connect: Connect, ports: readonly number[]): void {
  const servers = ports.map((port, index) => {
    const [dataChannel, errorChannel] = [2 * index, 2 * index + 1];
    const tell = (channel: number, content: Buffer) => sendBinary(socket, Buffer.concat([Buffer.of(channel), content]));
    const portBytes = Buffer.alloc(2);
    portBytes.writeUInt16LE(port);
    for (const channel of [dataChannel, errorChannel]) tell(channel, portBytes).catch(() => {});
    return open(
      {
        port,
        send: (chunk) => tell(dataChannel, chunk),
        end: () => {},
        close: (problem) => {
          const said = problem === undefined ? Promise.resolve() : tell(errorChannel, Buffer.from(problem));
          // The protocol can't say that one of several connections is over.
          if (ports.length === 1) said.catch(() => {}).then(() => socket.close(1000));
          else said.catch(() => {});
        },
      },
      connect,
    );
  });
  receiveInOrder(socket, async (message) => {
    const channel = message[0] ?? 0;
    if (channel % 2 === 0) await write(await servers[channel / 2], message.subarray(1));
  });
  socket.on('close', () => {
    for (const server of servers) void server.then((opened) => opened?.destroy());
  });
}

/** Opens the Pod's side of a connection and sends the client what comes from it. Resolves with undefined once the client was told why it can't be. */
async function open(client: Client, connect: Connect): Promise<Duplex | undefined> {
  let server: Duplex;
  try {
    server = await connect(client.port);
  } catch (error) {
    client.close((error as Error).message);
    return undefined;
  }
  let problem: string | undefined;
  server.on('data', (chunk: Buffer) => {
    server.pause();
    client.send(chunk).then(
      () => server.resume(),
      () => server.destroy(),
    );
  });
  server.on('end', () => client.end());
  server.on('error', (error) => {
    problem = error.message;
  });
  server.on('close', () => client.close(problem));
  server.resume();
  return server;
}

async function write(server: Duplex | undefined, chunk: Buffer): Promise<void> {
  if (server === undefined || !server.writable || server.write(chunk)) return;
  await Promise.race([once(server, 'drain'), once(server, 'close')]).catch(() => {});
}
