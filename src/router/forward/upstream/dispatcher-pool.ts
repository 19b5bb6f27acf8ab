import type { Dispatcher } from 'undici';
import { ConnectionClosedError, InvalidResponseError, UpstreamError } from './errors.ts';
import type { UpstreamControl, UpstreamHandler, UpstreamRequest } from './exchange.ts';
import type { UpstreamPool } from './pool.ts';

/** Connections that are asked as undici's pool is. */
export interface DispatcherConnections {
  /** Sends a request; everything that comes of it goes to the handler. */
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean;
  /** Resolves when what is under way has ended. */
  close(): Promise<void>;
  destroy(error: Error | null): Promise<void>;
  stats: { running: number };
}

/** A pool over connections that undici has, or that look so: for what sandboxes speak besides plain HTTP/1.1. */
export function createDispatcherPool(connections: DispatcherConnections, sleeps: boolean): UpstreamPool {
  const underWay = new Set<DispatcherExchange>();
  const farewells: (() => void)[] = [];
  let asleep = false;
  return {
    sleeps,
    dispatch: (request, handler) => {
      const exchange = new DispatcherExchange(request, handler, () => underWay.delete(exchange));
      underWay.add(exchange);
      connections.dispatch(
        {
          path: request.path,
          method: request.method as Dispatcher.HttpMethod,
          headers: request.headers as string[],
          body: request.body,
          headersTimeout: request.responseHeaderMs,
          // Timed here, as a pod that sleeps may be silent.
          bodyTimeout: 0,
          // A body is sent while the answer may begin.
          blocking: false,
        },
        exchange,
      );
      return exchange;
    },
    running: () => connections.stats.running,
    close: (ended) => void connections.close().then(ended, ended),
    destroy: (reason) => void connections.destroy(reason).catch(() => {}),
    fallAsleep: () => {
      asleep = true;
      for (const exchange of underWay) exchange.stopTiming();
    },
    wakeUp: () => {
      if (!asleep) return;
      asleep = false;
      for (const exchange of underWay) exchange.startTiming();
      for (const end of farewells.splice(0)) end();
    },
    whenAwake: (end) => {
      if (asleep) farewells.push(end);
      else end();
    },
  };
}

/** One request: what undici tells, as an {@link UpstreamHandler} hears it. */
class DispatcherExchange implements Dispatcher.DispatchHandler, UpstreamControl {
  private readonly request: UpstreamRequest;
  private readonly handler: UpstreamHandler;
  private readonly ended: () => void;
  private controller: Dispatcher.DispatchController | undefined;
  private silence: NodeJS.Timeout | undefined;
  private headed = false;
  private over = false;

  constructor(request: UpstreamRequest, handler: UpstreamHandler, ended: () => void) {
    this.request = request;
    this.handler = handler;
    this.ended = ended;
  }

  pause(): void {
    this.stopTiming();
    this.controller?.pause();
  }

  resume(): void {
    this.startTiming();
    this.controller?.resume();
  }

  abort(): void {
    this.finish();
    this.controller?.abort(new Error('the request is over'));
  }

  startTiming(): void {
    this.stopTiming();
    const { idleStreamMs } = this.request;
    if (!this.headed || this.over || idleStreamMs === 0) return;
    this.silence = setTimeout(() => {
      const error = new UpstreamError('stream_timeout', 'the answer stands still');
      this.fail(error);
      this.controller?.abort(error);
    }, idleStreamMs);
  }

  stopTiming(): void {
    clearTimeout(this.silence);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.over) controller.abort(new Error('the request is over'));
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, _headers: unknown, reason = ''): void {
    if (this.over) return;
    const fields = texts(controller.rawHeaders);
    if (status >= 200) {
      this.headed = true;
      this.startTiming();
    }
    const isAll = 'headIsAll' in controller ? controller.headIsAll === true : undefined;
    this.handler.onHead(status, printable(reason), fields, isAll);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.over) return;
    this.silence?.refresh();
    this.handler.onData(chunk, undefined);
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (this.over) return;
    this.finish();
    this.handler.onEnd(texts(controller.rawTrailers));
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    this.fail(asUpstreamError(error, this.request));
  }

  private fail(error: Error): void {
    if (this.over) return;
    this.finish();
    this.handler.onError(error);
  }

  private finish(): void {
    this.over = true;
    this.stopTiming();
    this.ended();
  }
}

/** Fields as text of their bytes. */
function texts(raw: unknown): string[] {
  const list = (raw ?? []) as readonly (Buffer | string)[];
  return list.map((each) => (typeof each === 'string' ? each : each.toString('latin1')));
}

/** A reason as it may be sent: bytes beyond ASCII were decoded as UTF-8, and what was none of it is lost. */
function printable(reason: string): string {
  if (/^[\t -~]*$/.test(reason)) return reason;
  return Buffer.from(reason.replaceAll('\ufffd', '?'))
    .toString('latin1')
    .replace(/[^\t -~\x80-\xff]/g, '?');
}

const INVALID = new Set(['UND_ERR_HEADERS_OVERFLOW', 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH']);
const CLOSED = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);

/** What undici says, in the words of this folder. What a stream of HTTP/2 tells beside goes along. */
function asUpstreamError(error: Error, request: UpstreamRequest): Error {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return new UpstreamError('connect_timeout', error.message);
  if (code === 'UND_ERR_HEADERS_TIMEOUT') return new UpstreamError('head_timeout', error.message);
  if (code === 'UND_ERR_BODY_TIMEOUT') return new UpstreamError('stream_timeout', error.message);
  // The latter of a 101 that nobody asked for.
  const wrong = error.message === 'bad response' || error.message === 'bad upgrade';
  if (wrong || code.startsWith('HPE_') || INVALID.has(code)) return new InvalidResponseError(error.message);
  if (!CLOSED.has(code) || (error as NodeJS.ErrnoException).syscall === 'connect') return error;
  const closed = new ConnectionClosedError(wasReused(error, request), error);
  return 'resetCode' in error ? Object.assign(closed, { resetCode: error.resetCode }) : closed;
}

/**
 * Whether the connection had carried a request before this one: only then can its end be a race with the sandbox's own idle timeout. It has if it sent more than
 * this request's head; that no answer was read tells nothing, as part of this very answer may have been.
 */
function wasReused(error: Error, { method, path, headers }: UpstreamRequest): boolean {
  const { bytesWritten = 0, bytesRead = 0 } =
    (error as { socket?: { bytesWritten?: number; bytesRead?: number } }).socket ?? {};
  // Method, path, version, `Connection: keep-alive`, and the empty line; any head with its forwarding headers is longer than what this errs by.
  let headBytes = method.length + path.length + 64;
  for (const text of headers) headBytes += text.length + 2;
  return bytesRead > 0 && bytesWritten > headBytes;
}
