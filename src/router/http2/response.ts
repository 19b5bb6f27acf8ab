import { constants, Http2ServerResponse, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { trailersByName } from '../forward/index.ts';
import { grpcStatus, isGrpc } from '../grpc.ts';
import { socketOf } from './sockets.ts';

const STOP_BODY_MS = 500;

/** An answer of HTTP/2 that takes what the forwarding of HTTP/1.1 gives: heads and trailers as arrays, interim answers of any status, and an end that does not look whole. */
export class EdgeResponse extends Http2ServerResponse {
  /** Of HTTP/1.1: nothing follows it there. */
  shouldKeepAlive = true;

  override readonly socket: Socket;
  override destroyed = false;
  headIsAll = false;
  resetCode: number | undefined = undefined;

  constructor(stream: ServerHttp2Stream) {
    super(stream);
    this.socket = socketOf(stream);
    // It may have been reset before anybody heard of it.
    this.destroyed = stream.destroyed || stream.closed;
    this.once('close', () => {
      this.destroyed = true;
    });
  }

  /** Sends the head: `headers` as name, value, …; a reason is not sent. As an object, it takes its way through what was set before. */
  override writeHead(status: number, reasonOrHeaders?: unknown, headers?: unknown): this {
    const fields = headers ?? reasonOrHeaders;
    if (!Array.isArray(fields)) return super.writeHead(status, fields as undefined);
    const { stream } = this;
    if (stream.destroyed || stream.closed) return this;
    stream.respond([':status', String(status), ...fields] as never, {
      waitForTrailers: true,
      endStream: this.headIsAll,
    });
    this.statusCode = status;
    return this;
  }

  /** Sends an interim answer (RFC 9110 section 15.2); `headers` as name, value, …. */
  writeInterim(status: number, headers: readonly string[]): void {
    const { stream } = this;
    // Nothing is switched in HTTP/2 (RFC 9113 section 8.6).
    if (status === 101 || stream.headersSent || stream.destroyed || stream.closed) return;
    stream.additionalHeaders({ ...valuesByName(headers), ':status': status });
  }

  /** Trailers as pairs. */
  override addTrailers(pairs: unknown): void {
    const flat = Array.isArray(pairs) ? (pairs as string[][]).flat() : Object.entries(pairs as object).flat();
    super.addTrailers(trailersByName(flat) as never);
  }

  override end(...last: unknown[]): this {
    super.end(...(last as []));
    const { stream } = this;
    if (!stream.endAfterHeaders && !stream.readableEnded) {
      // Or Node resets a stream that nobody read in the same write as the answer's end.
      stream.pause();
      stopBodySoon(stream);
    }
    return this;
  }

  /** Ends the answer so that its client sees that something is missing: a call of gRPC by its status, anything else by a reset. */
  override destroy(): this {
    const { stream } = this;
    if (stream.destroyed || stream.closed) return this;
    if (this.resetCode !== undefined || !stream.headersSent || this.writableEnded || !isGrpc(this.req)) {
      stream.close(this.resetCode || constants.NGHTTP2_INTERNAL_ERROR);
      return this;
    }
    super.addTrailers(grpcStatus({ code: 'upstream_reset', detail: 'The sandbox broke the connection.' }, 502));
    this.end();
    return this;
  }
}

/** Asks a client to send no more of a body that nobody reads, without an error (RFC 9113 section 8.1), once the answer is out: a reset would overtake it. */
function stopBody(stream: ServerHttp2Stream): void {
  if (stream.destroyed || stream.closed || stream.readableEnded) return;
  if (stream.state.localClose === 1) stream.close(constants.NGHTTP2_NO_ERROR);
  else stopBodySoon(stream);
}

/** Most clients stop by themselves when they see the answer; some take a reset that follows at once for an error. */
function stopBodySoon(stream: ServerHttp2Stream): void {
  setTimeout(stopBody, STOP_BODY_MS, stream);
}

function valuesByName(flat: readonly string[]): Record<string, string[]> {
  const values: Record<string, string[]> = {};
  for (let index = 0; index < flat.length; index += 2) {
    const name = (flat[index] as string).toLowerCase();
    values[name] ??= [];
    values[name].push(flat[index + 1] as string);
  }
  return values;
}
