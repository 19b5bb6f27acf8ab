import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Timeouts } from '../../config/index.ts';
import type { ProblemCode } from '../problem.ts';
import { BodyTooLargeError, type BytePacer } from './pacing.ts';
import type { PausableAnswer, UpstreamPool } from './pools.ts';
import { type RewriteContext, responseHeaders } from './response-headers.ts';
import { tlsFailure } from './sandbox-tls.ts';

/** One request ready to go to a pod. */
export interface ForwardRequest {
  request: IncomingMessage;
  response: ServerResponse;
  pool: UpstreamPool;
  timeouts: Timeouts;
  /** Path and query, byte for byte. */
  path: string;
  /** name, value, … */
  headers: string[];
  /** What the request brings, or null. */
  body: Readable | null;
  /** At whose pace the answer goes; undefined for its own. */
  pacer: BytePacer | undefined;
  rewrite: RewriteContext;
  /** The head of the answer has come; more headers may be added (name, value, …). */
  head(status: number, headers: string[]): void;
  /** Whether the pod is still the one that was chosen: dialling it again is pointless otherwise. */
  isCurrent(): boolean;
  /** A dial failed, or one was accepted after that. */
  dialled(accepted: boolean): void;
  /** The answer is a stream without known length, and its head has come. */
  streaming(headers: readonly string[]): void;
  /** A part of such a stream has come. */
  moved(chunk: Buffer): void;
  /** Called once: with the status sent to the client, or with what kept the sandbox from answering. */
  done(status: number, failure: UpstreamFailure | undefined): void;
}

/** Why a sandbox did not answer. `answered` tells that part of the answer had gone to the client already. */
export interface UpstreamFailure {
  code: ProblemCode;
  detail: string;
  answered: boolean;
}

/** What an answer of HTTP/2 has besides. */
interface AnswerOfHttp2 {
  /** node:http has none for every status. */
  writeInterim(status: number, headers: readonly string[]): void;
  /** Nothing follows the head: it ends the stream. */
  headIsAll: boolean;
  /** With which code it is reset when it breaks off. */
  resetCode: number | undefined;
}

/** Pauses before a refused dial is tried again; nothing was sent by then. */
const DIAL_RETRY_MS = [100, 200, 400];
const RETRYABLE_DIAL = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT']);
/** Above this, copying a body costs more than a second piece in a write. */
const SMALL_BODY_BYTES = 4096;
/** Methods that may be sent again on a fresh connection when a reused one turns out to be closed. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/**
 * Sends a request to its pod and streams the answer back, both with back-pressure. A dial that fails is tried again while the pod is current; a request without
 * body and with an idempotent method is sent once more if a kept connection was found closed; nothing else is ever sent twice.
 */
export function forwardHttp(forward: ForwardRequest): void {
  new HttpForward(forward).dispatch();
}

/** The undici handler of one request: a class, as its dispatch calls methods on one object and a closure each would cost more. */
class HttpForward implements Dispatcher.DispatchHandler, PausableAnswer {
  readonly forward: ForwardRequest;
  controller: Dispatcher.DispatchController | undefined;
  dials = 0;
  resent = false;
  streams = false;
  /** Bytes of body that the answer's head promised; -1 if it did not. */
  length = -1;
  /** A body that came whole in one piece waits here for the end, to leave with the head in one write. */
  whole: Buffer | undefined;
  ended = false;
  /** Reasons for which a paced answer stands still. */
  pauses = 0;
  onClose: (() => void) | undefined;
  /** For requests whose whole time is bounded. */
  timer: NodeJS.Timeout | undefined;
  /** Asked for events: such an answer may be silent for as long as its sandbox sleeps, so its silence is timed here. */
  readonly events: boolean;
  silence: NodeJS.Timeout | undefined;

  constructor(forward: ForwardRequest) {
    this.forward = forward;
    this.events = asksForEvents(forward.headers);
  }

  dispatch(): void {
    const { forward } = this;
    if (this.onClose === undefined) {
      this.onClose = () => this.clientClosed();
      forward.response.on('close', this.onClose);
      const { requestMs } = forward.timeouts;
      if (requestMs > 0) this.timer = setTimeout(() => this.outOfTime(), requestMs);
    }
    forward.pool.connections.dispatch(
      {
        path: forward.path,
        method: forward.request.method as Dispatcher.HttpMethod,
        headers: forward.headers,
        body: forward.body,
        headersTimeout: forward.timeouts.responseHeaderMs,
        bodyTimeout: this.events ? 0 : forward.timeouts.idleStreamMs,
        // A held-back answer must not hold back other requests of the connection, and a body is sent while the answer may begin.
        blocking: false,
      },
      this,
    );
  }

  outOfTime(): void {
    const { response, timeouts } = this.forward;
    const answered = response.headersSent;
    const detail = `The request took longer than ${timeouts.requestMs / 1000} s.`;
    this.finish(answered ? response.statusCode : 504, { code: 'upstream_timeout', detail, answered });
    this.controller?.abort(new Error(detail));
    if (answered) response.destroy();
  }

  clientClosed(): void {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.timer);
    this.silent(false);
    // A sandbox that sleeps hears of it when it is awake.
    this.forward.pool.whenAwake(() => this.controller?.abort(new Error('the client left')));
    this.forward.done(499, undefined);
  }

  /** Begins or ends the timing of silence. */
  silent(timed: boolean): void {
    if (!this.events) return;
    clearTimeout(this.silence);
    const { idleStreamMs } = this.forward.timeouts;
    if (timed && idleStreamMs > 0) this.silence = setTimeout(() => this.tooSilent(), idleStreamMs);
    else if (!timed && this.ended) this.forward.pool.streams.delete(this);
  }

  tooSilent(): void {
    const error = Object.assign(new Error('the sandbox is silent'), { code: 'UND_ERR_BODY_TIMEOUT' });
    this.onResponseError(undefined, error);
    this.controller?.abort(error);
  }

  pause(): void {
    this.silent(false);
  }

  resume(): void {
    this.silent(true);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.ended) controller.abort(new Error('the request is over'));
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    statusCode: number,
    _headers: unknown,
    statusText?: string,
  ): void {
    const { forward } = this;
    const { response } = forward;
    if (this.dials > 0) forward.dialled(true);
    const raw = controller.rawHeaders as Buffer[];
    if (statusCode < 200) {
      this.interim(statusCode, statusText ?? '', raw);
      return;
    }
    if (this.events) {
      forward.pool.streams.add(this);
      this.silent(true);
    }
    const headers = responseHeaders(raw, forward.rewrite);
    forward.head(statusCode, headers);
    if ('headIsAll' in controller) (response as unknown as AnswerOfHttp2).headIsAll = controller.headIsAll === true;
    response.writeHead(statusCode, reasonOf(statusText), headers as unknown as Record<string, string>);
    // Streams must show their head at once, not with their first bytes.
    this.length = contentLength(headers);
    if (this.length < 0) {
      response.flushHeaders();
      this.streams = true;
      forward.streaming(headers);
    }
  }

  /**
   * Passes an interim answer on (RFC 9110 section 15.2) as it came: `writeEarlyHints` knows one of them, and throws at links that it can't parse.
   * One that comes before its turn in a pipeline has no connection yet, and clients of HTTP/1.0 know none.
   */
  interim(statusCode: number, statusText: string, raw: Buffer[]): void {
    const { response, request, rewrite } = this.forward;
    const headers = responseHeaders(raw, rewrite);
    if ('writeInterim' in response) (response as unknown as AnswerOfHttp2).writeInterim(statusCode, headers);
    if (request.httpVersionMajor > 1 || request.httpVersionMinor === 0 || response.headersSent) return;
    let text = `HTTP/1.1 ${statusCode} ${reasonOf(statusText)}\r\n`;
    for (let index = 0; index < headers.length; index += 2) text += `${headers[index]}: ${headers[index + 1]}\r\n`;
    response.socket?.write(`${text}\r\n`, 'latin1');
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.silence?.refresh();
    if (this.streams) this.forward.moved(chunk);
    else if (chunk.length === this.length && chunk.length <= SMALL_BODY_BYTES) {
      this.whole = chunk;
      return;
    }
    const full = !this.forward.response.write(chunk);
    const { pacer } = this.forward;
    if (pacer !== undefined) this.pace(controller, pacer, chunk.length, full);
    else if (full) {
      controller.pause();
      this.forward.response.once('drain', () => controller.resume());
    }
  }

  /** Goes on when both the client has taken what it got and the pacer allows. */
  pace(controller: Dispatcher.DispatchController, pacer: BytePacer, bytes: number, full: boolean): void {
    const waitMs = pacer.spend(bytes, performance.now());
    const go = () => {
      this.pauses--;
      if (this.pauses === 0 && !this.ended) controller.resume();
    };
    if (!full && waitMs <= 0) return;
    controller.pause();
    if (full) {
      this.pauses++;
      this.forward.response.once('drain', go);
    }
    if (waitMs > 0) {
      this.pauses++;
      setTimeout(go, waitMs);
    }
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    const { response } = this.forward;
    const trailers = controller.rawTrailers as Buffer[] | null;
    if (trailers !== null && trailers.length > 0) response.addTrailers(pairs(trailers));
    // As text of its bytes, node:http joins it with the head; a buffer would be written beside it.
    if (this.whole !== undefined) response.end(this.whole.toString('latin1'), 'latin1');
    else response.end();
    this.finish(response.statusCode, undefined);
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.ended) return;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    const { forward } = this;
    const { response } = forward;
    const answered = response.headersSent;
    const undialled = RETRYABLE_DIAL.has(code) && isDialError(error);
    if (undialled) forward.dialled(false);
    if (!answered && undialled && this.dials < DIAL_RETRY_MS.length && forward.isCurrent()) {
      setTimeout(() => (this.ended ? undefined : this.dispatch()), DIAL_RETRY_MS[this.dials++]);
      return;
    }
    const closedEarly =
      (code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE') && !isWrongAnswer(error);
    if (
      !answered &&
      closedEarly &&
      !this.resent &&
      forward.body === null &&
      IDEMPOTENT.has(forward.request.method ?? '') &&
      wasReused(error, forward)
    ) {
      this.resent = true;
      this.dispatch();
      return;
    }
    if (error instanceof BodyTooLargeError) {
      this.finish(answered ? response.statusCode : 413, { code: error.code, detail: error.message, answered });
      if (answered) response.destroy();
      return;
    }
    if ('resetCode' in error) (response as unknown as AnswerOfHttp2).resetCode = error.resetCode as number;
    this.finish(answered ? response.statusCode : 502, { ...describe(code, error), answered });
    if (answered) response.destroy();
  }

  finish(status: number, failure: UpstreamFailure | undefined): void {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.timer);
    this.silent(false);
    if (this.onClose !== undefined) this.forward.response.off('close', this.onClose);
    this.forward.done(status, failure);
  }
}

function isDialError(error: Error): boolean {
  return (
    (error as NodeJS.ErrnoException).syscall === 'connect' ||
    (error as { code?: string }).code === 'UND_ERR_CONNECT_TIMEOUT'
  );
}

/**
 * Whether the connection had carried a request before this one: only then can its end be a race with the sandbox's own idle timeout. It has if it sent more than
 * this request's head; that no answer was read tells nothing, as part of this very answer may have been.
 */
function wasReused(error: Error, { request, path, headers }: ForwardRequest): boolean {
  const { bytesWritten = 0, bytesRead = 0 } =
    (error as { socket?: { bytesWritten?: number; bytesRead?: number } }).socket ?? {};
  // Method, path, version, `Connection: keep-alive`, and the empty line; any head with its forwarding headers is longer than what this errs by.
  let headBytes = (request.method?.length ?? 0) + path.length + 64;
  for (const text of headers) headBytes += text.length + 2;
  return bytesRead > 0 && bytesWritten > headBytes;
}

/** What undici says of an answer that HTTP does not allow here, such as a 101 that nobody asked for: the connection was in order. */
function isWrongAnswer({ message }: Error): boolean {
  return message === 'bad response' || message === 'bad upgrade';
}

function describe(code: string, error: Error): { code: ProblemCode; detail: string } {
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT')
    return { code: 'upstream_timeout', detail: 'The sandbox did not answer in time.' };
  if (isDialError(error)) return { code: 'upstream_refused', detail: 'The sandbox refused the connection.' };
  const ofTls = tlsFailure(code);
  if (ofTls !== undefined) return { code: 'upstream_invalid', detail: ofTls };
  // The last are of node:http, which refuses to pass on a status or a field that it may not send.
  if (
    code.startsWith('HPE_') ||
    code === 'UND_ERR_HEADERS_OVERFLOW' ||
    code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' ||
    code === 'ERR_INVALID_CHAR' ||
    code === 'ERR_HTTP_INVALID_STATUS_CODE' ||
    code.startsWith('ERR_HTTP2_') ||
    isWrongAnswer(error)
  )
    return { code: 'upstream_invalid', detail: 'The sandbox did not answer in HTTP.' };
  return { code: 'upstream_reset', detail: 'The sandbox broke the connection.' };
}

/** A reason as it may be sent: bytes beyond ASCII were decoded as UTF-8, and what was none of it is lost. */
function reasonOf(statusText = ''): string {
  if (/^[\t -~]*$/.test(statusText)) return statusText;
  return Buffer.from(statusText.replaceAll('\ufffd', '?'))
    .toString('latin1')
    .replace(/[^\t -~\x80-\xff]/g, '?');
}

/** Whether a request's headers (name, value, …) ask for server-sent events, as an EventSource does. */
function asksForEvents(headers: readonly string[]): boolean {
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] as string;
    if (name.length === 6 && name.toLowerCase() === 'accept')
      return (headers[index + 1] as string).startsWith('text/event-stream');
  }
  return false;
}

/** Declared length of a body, or -1: then it is a stream, or there is none. */
function contentLength(headers: string[]): number {
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] as string;
    if (name.length === 14 && name.toLowerCase() === 'content-length') return Number(headers[index + 1]);
  }
  return -1;
}

function pairs(raw: Buffer[]): [string, string][] {
  const result: [string, string][] = [];
  for (let index = 0; index < raw.length; index += 2)
    result.push([(raw[index] as Buffer).toString('latin1'), (raw[index + 1] as Buffer).toString('latin1')]);
  return result;
}
