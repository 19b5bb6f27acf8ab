import { type ClientHttp2Stream, constants } from 'node:http2';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { createUpstreamSessions, type UpstreamSession } from './http2-sessions.ts';
import { trailersByName } from './trailers.ts';
import type { DispatcherConnections, RequestBody } from './upstream/index.ts';

/** A pod that speaks HTTP/2, asked as undici asks one of HTTP/1.1: whoever forwards sees no difference. */
export function createHttp2Upstream(dial: () => Promise<Socket>, scheme: 'http' | 'https'): DispatcherConnections {
  const sessions = createUpstreamSessions(dial);
  return {
    dispatch: (options, handler) => {
      new Http2Exchange(options, handler, scheme).start(sessions);
      return true;
    },
    close: () => sessions.close(),
    stats: {
      get running() {
        return sessions.running();
      },
    },
    destroy: async (error) => sessions.destroy(error ?? new Error('the router ends')),
  };
}

/** What a stream that broke off tells beside its error. */
export interface StreamFailure extends Error {
  code?: string;
  /** With which code the sandbox reset it; undefined where the connection broke. */
  resetCode?: number;
  /** As of undici's errors: whether the connection had carried a request before. */
  socket?: { bytesRead: number; bytesWritten: number };
}

/** One request and its answer: undici's controller of them at the same time. */
class Http2Exchange implements Dispatcher.DispatchController {
  private readonly options: Dispatcher.DispatchOptions;
  private readonly handler: Dispatcher.DispatchHandler;
  private readonly scheme: string;
  private stream: ClientHttp2Stream | undefined;
  private over = false;
  private answered = false;
  /** Bytes of body that are still to come where their number is known; NaN where it isn't. */
  private missing = Number.NaN;
  aborted = false;
  paused = false;
  reason: Error | null = null;
  rawHeaders: string[] = [];
  rawTrailers: string[] | null = null;
  /** Whether the head is all of the answer: a call of gRPC that failed at once has its status there, and must keep its form. */
  headIsAll = false;

  constructor(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler, scheme: string) {
    this.options = options;
    this.handler = handler;
    this.scheme = scheme;
  }

  start(sessions: { take(): UpstreamSession }): void {
    this.handler.onRequestStart?.(this, undefined);
    if (this.aborted) return;
    let taken: UpstreamSession;
    try {
      taken = sessions.take();
    } catch (error) {
      this.fail(error as Error);
      return;
    }
    // Until it is connected nothing is read of the body: a dial may be tried again.
    taken.streams++;
    if (taken.connecting === undefined) this.send(taken);
    else
      taken.connecting.then(
        () => this.send(taken),
        (error: Error) => this.fail(error),
      );
  }

  abort(reason: Error): void {
    this.aborted = true;
    this.reason = reason;
    this.over = true;
    this.stopBody();
    this.stream?.close(constants.NGHTTP2_CANCEL);
  }

  pause(): void {
    this.paused = true;
    this.stream?.pause();
  }

  resume(): void {
    this.paused = false;
    this.stream?.resume();
  }

  private send(taken: UpstreamSession): void {
    if (this.over) {
      taken.streams--;
      return;
    }
    const { options } = this;
    const body = options.body as Readable | null;
    const first = taken.carried++ === 0;
    let stream: ClientHttp2Stream;
    try {
      stream = taken.session.request(requestHeaders(options, this.scheme) as never, {
        endStream: body === null,
        waitForTrailers: body !== null,
      });
    } catch (error) {
      taken.streams--;
      this.fail(error as Error);
      return;
    }
    this.stream = stream;
    stream.setTimeout(options.headersTimeout ?? 0, () => this.outOfTime());
    stream.on('headers', (headers, _flags, raw) => this.head(Number(headers[':status']), raw as never));
    stream.on('response', (headers, flags, raw) => {
      const declared = headers['content-length'];
      if (declared !== undefined && options.method !== 'HEAD' && headers[':status'] !== 304)
        this.missing = Number(declared);
      this.headIsAll = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      stream.setTimeout(options.bodyTimeout ?? 0);
      this.answered = true;
      this.head(Number(headers[':status']), raw as never);
    });
    stream.on('trailers', (_headers, _flags, raw: unknown) => {
      this.rawTrailers = raw as string[];
    });
    stream.on('data', (chunk: Buffer) => {
      this.missing -= chunk.length;
      if (!this.over) this.handler.onResponseData?.(this, chunk);
    });
    stream.on('end', () => this.end());
    const broken = (error: StreamFailure) => this.broken(error, first, taken.session.destroyed);
    stream.on('error', broken);
    stream.on('close', () => {
      taken.streams--;
      // A reset that its sandbox calls a cancellation is no error to Node.
      broken(new Error('the sandbox ended the stream'));
    });
    if (body !== null) this.sendBody(body, stream);
  }

  private head(status: number, raw: string[]): void {
    if (this.over) return;
    this.rawHeaders = withoutPseudo(raw);
    try {
      this.handler.onResponseStart?.(this, status, {}, '');
    } catch (error) {
      this.stream?.close(constants.NGHTTP2_CANCEL);
      this.fail(error as Error);
    }
  }

  private end(): void {
    if (this.over || this.stream === undefined || (this.stream.rstCode ?? 0) !== constants.NGHTTP2_NO_ERROR) return;
    if (this.missing > 0) return;
    this.stopBody();
    try {
      this.handler.onResponseEnd?.(this, {});
      this.over = true;
    } catch (error) {
      this.fail(error as Error);
    }
  }

  private broken(error: StreamFailure, first: boolean, connectionLost: boolean): void {
    const code = this.stream?.rstCode ?? 0;
    if (error.code === 'ERR_HTTP2_STREAM_ERROR' || error.code === undefined) {
      // As undici calls it when a connection ends; a stream that was refused was not looked at, so what can be repeated is (RFC 9113 section 8.7).
      error.code = 'UND_ERR_SOCKET';
      if (!connectionLost) error.resetCode = code;
    }
    const reused = !first || code === constants.NGHTTP2_REFUSED_STREAM;
    error.socket = reused
      ? { bytesRead: 1, bytesWritten: Number.POSITIVE_INFINITY }
      : { bytesRead: 0, bytesWritten: 0 };
    this.fail(error);
  }

  private outOfTime(): void {
    const { stream, options } = this;
    if (this.over || stream === undefined) return;
    // It may wait for a client that takes its time.
    if (this.paused) {
      stream.setTimeout(options.bodyTimeout ?? 0);
      return;
    }
    const code = this.answered ? 'UND_ERR_BODY_TIMEOUT' : 'UND_ERR_HEADERS_TIMEOUT';
    this.fail(Object.assign(new Error('the sandbox did not answer in time'), { code }));
    stream.close(constants.NGHTTP2_CANCEL);
  }

  private fail(error: Error): void {
    if (this.over) return;
    this.over = true;
    this.stopBody();
    this.handler.onResponseError?.(this, error);
  }

  private sendBody(body: Readable, stream: ClientHttp2Stream): void {
    body.pipe(stream);
    body.once('error', (error) => {
      stream.close(constants.NGHTTP2_CANCEL);
      this.fail(error);
    });
    stream.once('wantTrailers', () => {
      const trailers = (body as RequestBody).rawTrailers ?? [];
      stream.sendTrailers(trailersByName(trailers));
    });
  }

  private stopBody(): void {
    const body = this.options.body as Readable | null;
    if (this.stream !== undefined) body?.unpipe(this.stream);
  }
}

/** Pseudo-headers first; the authority is what the sandbox would have got as Host. */
function requestHeaders({ method, path, headers }: Dispatcher.DispatchOptions, scheme: string): string[] {
  const raw = [':method', method, ':scheme', scheme, ':path', path];
  const ordinary = headers as string[];
  for (let index = 0; index < ordinary.length; index += 2) {
    const name = ordinary[index] as string;
    raw.push(name === 'host' ? ':authority' : name, ordinary[index + 1] as string);
  }
  return raw;
}

function withoutPseudo(raw: string[]): string[] {
  let from = 0;
  while (raw[from]?.startsWith(':') === true) from += 2;
  return raw.slice(from);
}
