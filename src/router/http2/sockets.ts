import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

/** Connections of streams: the one that a session shows is a proxy that throws once the session is over, and a stream that was reset has no session. */
const byStream = new WeakMap<ServerHttp2Stream, Socket>();

/** Remembers the connection of each stream of a session, before anybody else hears of the stream. */
export function rememberSocket(session: ServerHttp2Session, socket: Socket): void {
  session.prependListener('stream', (stream) => byStream.set(stream, socket));
}

/** The connection of a stream, to ask for addresses and certificates; never to be read or written. */
export function socketOf(stream: ServerHttp2Stream): Socket {
  return byStream.get(stream) as Socket;
}
