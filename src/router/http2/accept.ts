import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/** How every connection of HTTP/2 begins (RFC 9113 section 3.4). */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
/** As many bytes tell it from every method that there is: PROPFIND begins with two of them. */
const TELLING_BYTES = 3;
/** Resolution of the time for which a connection may say nothing. */
const WATCH_MS = 1000;

/** Connections that have not said yet what they speak. */
export interface Undecided {
  /** Leaves them to HTTP/1.1, where idle connections are known and closed. */
  settle(): void;
}

/** What is known of a connection that has not said yet what it speaks. */
interface Beginning {
  first: Buffer | undefined;
  sinceMs: number;
}

/**
 * Parts the connections of a server: over TLS by what ALPN chose, without it by their first bytes (prior knowledge). Those of HTTP/1.1 go to where the server's own
 * would have gone, untouched but for one look at the first piece. `silenceMs` is how long a connection may say nothing.
 */
export function acceptHttp2(
  server: Server,
  tls: boolean,
  adopt: (socket: Socket) => void,
  silenceMs: number,
): Undecided {
  const event = tls ? 'secureConnection' : 'connection';
  const [takeHttp1] = server.listeners(event) as ((this: Server, socket: Socket) => void)[];
  if (takeHttp1 === undefined) throw new Error(`a server without a listener for ${event}`);
  server.removeListener(event, takeHttp1);
  if (tls) {
    server.on(event, (socket: TLSSocket) => {
      if (socket.alpnProtocol === 'h2') adopt(socket);
      else takeHttp1.call(server, socket);
    });
    return { settle: () => {} };
  }
  const undecided = new Map<Socket, Beginning>();

  // Functions that all connections share: closures for each would be felt where connections are short.
  function look(this: Socket, chunk: Buffer): void {
    const beginning = undecided.get(this) as Beginning;
    const first = beginning.first === undefined ? chunk : Buffer.concat([beginning.first, chunk]);
    beginning.first = first;
    const known = Math.min(first.length, TELLING_BYTES);
    if (PREFACE.compare(first, 0, known, 0, known) !== 0) toHttp1(this);
    else if (known === TELLING_BYTES) {
      leave(this);
      this.pause();
      this.unshift(first);
      adopt(this);
    }
  }

  function toHttp1(socket: Socket): void {
    const first = undecided.get(socket)?.first;
    leave(socket);
    takeHttp1?.call(server, socket);
    // Put back, it would take a detour through the stream's buffer.
    if (first !== undefined) socket.emit('data', first);
  }

  function leave(socket: Socket): void {
    undecided.delete(socket);
    socket.off('data', look);
    socket.off('end', drop);
    socket.off('error', drop);
  }

  function drop(this: Socket): void {
    undecided.delete(this);
    this.destroy();
  }

  const watch = setInterval(() => {
    const beforeMs = performance.now() - silenceMs;
    for (const [socket, { sinceMs }] of undecided) if (socket.destroyed || sinceMs < beforeMs) drop.call(socket);
  }, WATCH_MS).unref();
  server.once('close', () => clearInterval(watch));
  server.on(event, (socket: Socket) => {
    undecided.set(socket, { first: undefined, sinceMs: performance.now() });
    socket.on('data', look);
    socket.on('end', drop);
    socket.on('error', drop);
  });
  return {
    settle: () => {
      for (const socket of undecided.keys()) toHttp1(socket);
    },
  };
}
