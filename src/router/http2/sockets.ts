import type { Http2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

/** Connections of sessions: the one that a session shows is a proxy, which throws once the session is over. */
const bySession = new WeakMap<Http2Session, Socket>();

/** Remembers whose connection a session is on. */
export function rememberSocket(session: Http2Session, socket: Socket): void {
  bySession.set(session, socket);
}

/** The connection of a stream, to ask for addresses and certificates; never to be read or written. */
export function socketOf({ session }: ServerHttp2Stream): Socket {
  return (session === undefined ? undefined : bySession.get(session)) as Socket;
}
