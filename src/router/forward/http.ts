import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { Timeouts } from '../../config/index.ts';
import type { ProblemCode } from '../problem.ts';
import { BodyTooLargeError, type BytePacer } from './pacing.ts';
import { type RewriteContext, responseHeaders } from './response-headers.ts';
import { tlsFailure } from './sandbox-tls.ts';
import {
  ConnectionClosedError,
  type UpstreamControl,
  type UpstreamHandler,
  type UpstreamPool,
} from './upstream/index.ts';

/** One request ready to go to a pod. */
export interface ForwardRequest {
  request: IncomingMessage;
  response: ServerResponse;
  readonly pool: UpstreamPool;
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
  /** Whether the pod is still the one that was chosen and may be sent requests: dialling it again is pointless otherwise. */
  isCurrent(): boolean;
  /** Takes the pod's pool of now: the one before may have been closed for a pause that was called off. */
  renewPool(): void;
  /**
   * Nothing of the request has reached the pod, which is not current: waits for the next one, as a request does that comes now. `pool` is that one's then.
   * Rejects with what the client is to be answered.
   */
  rejoin(): Promise<void>;
  /** Answers the client with what kept it from joining again. */
  refuse(error: unknown): void;
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
const RETRYABLE_DIAL = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'connect_timeout',
  'not_dialled',
]);
/** So often a request joins another wake because its pod was paused in the very moment of the dial. */
export const MOST_REJOINS = 5;
/** Methods that may be sent again on a fresh connection when a reused one turns out to be closed. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/**
 * Sends a request to its pod and streams the answer back, both with back-pressure. A dial that fails is tried again while the pod is current, and joins the next
 * wake when it is not; a request without body and with an idempotent method is sent once more if a kept connection was found closed; nothing else is ever sent twice.
 */
export function forwardHttp(forward: ForwardRequest): void {
  new HttpForward(forward).dispatch();
}

/** The handler of one request's answer: a class, as its connection calls methods on one object and a closure each would cost more. */
class HttpForward implements UpstreamHandler {
  readonly forward: ForwardRequest;
  control: UpstreamControl | undefined;
  dials = 0;
  rejoins = 0;
  resent = false;
  streams = false;
  ended = false;
  /** Reasons for which a paced answer stands still. */
  pauses = 0;
  onClose: (() => void) | undefined;
  /** For requests whose whole time is bounded. */
  timer: NodeJS.Timeout | undefined;

  constructor(forward: ForwardRequest) {
    this.forward = forward;
  }

  dispatch(): void {
    const { forward } = this;
    const { connectMs, responseHeaderMs, idleStreamMs, requestMs } = forward.timeouts;
    if (this.onClose === undefined) {
      this.onClose = () => this.clientClosed();
      forward.response.on('close', this.onClose);
      if (requestMs > 0) this.timer = setTimeout(() => this.outOfTime(), requestMs);
    }
    this.control = forward.pool.dispatch(
      {
        method: forward.request.method ?? 'GET',
        path: forward.path,
        headers: forward.headers,
        body: forward.body,
        connectMs,
        responseHeaderMs,
        idleStreamMs,
      },
      this,
    );
  }

  outOfTime(): void {
    const { response, timeouts } = this.forward;
    const answered = response.headersSent;
    const detail = `The request took longer than ${timeouts.requestMs / 1000} s.`;
    this.finish(answered ? response.statusCode : 504, { code: 'upstream_timeout', detail, answered });
    this.control?.abort();
    if (answered) response.destroy();
  }

  clientClosed(): void {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.timer);
    // A sandbox that sleeps hears of it when it is awake.
    this.forward.pool.whenAwake(() => this.control?.abort());
    this.forward.done(499, undefined);
  }

  onHead(status: number, reason: string, fields: string[], isAll?: boolean): void {
    const { forward } = this;
    const { response } = forward;
    if (this.dials > 0) forward.dialled(true);
    if (status < 200) {
      this.interim(status, reason, fields);
      return;
    }
    const headers = responseHeaders(fields, forward.rewrite);
    forward.head(status, headers);
    if (isAll !== undefined) (response as unknown as AnswerOfHttp2).headIsAll = isAll;
    response.writeHead(status, reason, headers as unknown as Record<string, string>);
    // Streams must show their head at once, not with their first bytes.
    if (!declaresLength(headers)) {
      response.flushHeaders();
      this.streams = true;
      forward.streaming(headers);
    }
  }

  /**
   * Passes an interim answer on (RFC 9110 section 15.2) as it came: `writeEarlyHints` knows one of them, and throws at links that it can't parse.
   * One that comes before its turn in a pipeline has no connection yet, and clients of HTTP/1.0 know none.
   */
  interim(status: number, reason: string, fields: string[]): void {
    const { response, request, rewrite } = this.forward;
    const headers = responseHeaders(fields, rewrite);
    if ('writeInterim' in response) (response as unknown as AnswerOfHttp2).writeInterim(status, headers);
    if (request.httpVersionMajor > 1 || request.httpVersionMinor === 0 || response.headersSent) return;
    let text = `HTTP/1.1 ${status} ${reason}\r\n`;
    for (let index = 0; index < headers.length; index += 2) text += `${headers[index]}: ${headers[index + 1]}\r\n`;
    response.socket?.write(`${text}\r\n`, 'latin1');
  }

  /** As text, node:http joins it with the head in one write; a buffer would be written beside it. */
  onWhole(body: string): void {
    this.forward.response.end(body, 'latin1');
  }

  onData(chunk: Buffer, release: (() => void) | undefined): void {
    const { response, pacer } = this.forward;
    if (this.streams) this.forward.moved(chunk);
    const full = !response.write(chunk, release);
    if (pacer !== undefined) this.pace(pacer, chunk.length, full);
    else if (full) {
      this.control?.pause();
      response.once('drain', () => (this.ended ? undefined : this.control?.resume()));
    }
  }

  /** Goes on when both the client has taken what it got and the pacer allows. */
  pace(pacer: BytePacer, bytes: number, full: boolean): void {
    const waitMs = pacer.spend(bytes, performance.now());
    const go = () => {
      this.pauses--;
      if (this.pauses === 0 && !this.ended) this.control?.resume();
    };
    if (!full && waitMs <= 0) return;
    this.control?.pause();
    if (full) {
      this.pauses++;
      this.forward.response.once('drain', go);
    }
    if (waitMs > 0) {
      this.pauses++;
      setTimeout(go, waitMs);
    }
  }

  onEnd(trailers: string[]): void {
    const { response } = this.forward;
    if (trailers.length > 0) response.addTrailers(pairs(trailers));
    if (!response.writableEnded) response.end();
    this.finish(response.statusCode, undefined);
  }

  onError(error: Error): void {
    if (this.ended) return;
    const { forward } = this;
    const { response, request } = forward;
    // The body that broke off was the client's.
    if (request.destroyed && !request.complete) {
      this.clientClosed();
      return;
    }
    const answered = response.headersSent;
    const undialled = RETRYABLE_DIAL.has(codeOf(error)) && isDialError(error);
    if (undialled && codeOf(error) !== 'not_dialled') forward.dialled(false);
    if (!answered && undialled && !forward.isCurrent() && this.rejoins < MOST_REJOINS) {
      this.again();
      return;
    }
    if (!answered && undialled && this.dials < DIAL_RETRY_MS.length) {
      setTimeout(() => this.again(), DIAL_RETRY_MS[this.dials++]);
      return;
    }
    if (
      !answered &&
      error instanceof ConnectionClosedError &&
      error.reused &&
      !this.resent &&
      forward.body === null &&
      IDEMPOTENT.has(request.method ?? '')
    ) {
      this.resent = true;
      this.again();
      return;
    }
    if (error instanceof BodyTooLargeError) {
      this.finish(answered ? response.statusCode : 413, { code: error.code, detail: error.message, answered });
      if (answered) response.destroy();
      return;
    }
    if ('resetCode' in error) (response as unknown as AnswerOfHttp2).resetCode = error.resetCode as number;
    this.finish(answered ? response.statusCode : 502, { ...describe(error), answered });
    if (answered) response.destroy();
  }

  /** Asks the pod once more, or, where it was paused in the very moment of the dial, whoever goes on in its place. */
  again(): void {
    if (this.ended) return;
    const { forward } = this;
    if (forward.isCurrent() || this.rejoins === MOST_REJOINS) {
      forward.renewPool();
      this.dispatch();
      return;
    }
    this.rejoins++;
    this.dials = 0;
    forward.rejoin().then(
      () => (this.ended ? undefined : this.dispatch()),
      (error) => (this.end() ? forward.refuse(error) : undefined),
    );
  }

  finish(status: number, failure: UpstreamFailure | undefined): void {
    if (this.end()) this.forward.done(status, failure);
  }

  /** False if it had ended already. */
  end(): boolean {
    if (this.ended) return false;
    this.ended = true;
    clearTimeout(this.timer);
    if (this.onClose !== undefined) this.forward.response.off('close', this.onClose);
    return true;
  }
}

function codeOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}

function isDialError(error: Error): boolean {
  const code = codeOf(error);
  return (error as NodeJS.ErrnoException).syscall === 'connect' || code === 'connect_timeout' || code === 'not_dialled';
}

function describe(error: Error): { code: ProblemCode; detail: string } {
  const code = codeOf(error);
  if (code === 'head_timeout' || code === 'stream_timeout')
    return { code: 'upstream_timeout', detail: 'The sandbox did not answer in time.' };
  if (isDialError(error)) return { code: 'upstream_refused', detail: 'The sandbox refused the connection.' };
  const ofTls = tlsFailure(code);
  if (ofTls !== undefined) return { code: 'upstream_invalid', detail: ofTls };
  // The last are of node:http, which refuses to pass on a status or a field that it may not send.
  if (
    code === 'invalid_response' ||
    code === 'ERR_INVALID_CHAR' ||
    code === 'ERR_HTTP_INVALID_STATUS_CODE' ||
    code.startsWith('ERR_HTTP2_')
  )
    return { code: 'upstream_invalid', detail: 'The sandbox did not answer in HTTP.' };
  return { code: 'upstream_reset', detail: 'The sandbox broke the connection.' };
}

/** Whether a body's length is declared; otherwise it is a stream, or there is none. */
function declaresLength(headers: readonly string[]): boolean {
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] as string;
    if (name.length === 14 && name.toLowerCase() === 'content-length') return true;
  }
  return false;
}

function pairs(fields: readonly string[]): [string, string][] {
  return Array.from({ length: fields.length / 2 }, (_, index) => [
    fields[2 * index] as string,
    fields[2 * index + 1] as string,
  ]);
}
