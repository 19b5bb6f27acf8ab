import type { FastifyReply } from 'fastify';

/** An answer of server-sent events (HTML standard, section 9.2). */
export interface EventStream {
  /** What a client that does not read leaves unsent is bounded: it is cut off then. */
  send(event: string, data: unknown, id?: string): void;
  /** A sign of life. */
  beat(): void;
  close(): void;
  onClose(listener: () => void): void;
}

/** Bytes that may wait for a client. */
const MOST_UNSENT_BYTES = 1_048_576;

/** Takes the answer out of Fastify's hands. */
export function openEventStream(reply: FastifyReply): EventStream {
  const { raw } = reply.hijack();
  raw.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    // Proxies of the nginx kind would wait for more.
    'x-accel-buffering': 'no',
  });
  return {
    send: (event, data, id) => {
      if (raw.writableEnded || raw.destroyed) return;
      raw.write(`${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      if (raw.writableLength > MOST_UNSENT_BYTES) raw.destroy();
    },
    beat: () => void raw.write(': \n\n'),
    close: () => raw.end(),
    onClose: (listener) => raw.once('close', listener),
  };
}
