import { connect, type Socket } from 'node:net';
import { ConnectionClosedError, dialFailure, UpstreamError } from './errors.ts';
import type { UpstreamControl, UpstreamHandler, UpstreamRequest } from './exchange.ts';
import type { ReadBuffers } from './read-buffers.ts';
import { type BodyWriter, requestHead, writeBody } from './request-writer.ts';
import { ResponseReader, type ResponseSink } from './response-reader.ts';

/** What a connection tells its pool. */
export interface ConnectionOwner {
  readonly buffers: ReadBuffers;
  /** Its pod is in a snapshot, and can neither accept nor answer. */
  asleep: boolean;
  /** Somebody accepted it. */
  connected(): void;
  /** It may carry another request. */
  idle(connection: UpstreamConnection): void;
  /** It has ended. `wasConnected` is false for one that nobody accepted, with what kept it from it; nothing did where its request was given up. */
  closed(connection: UpstreamConnection, wasConnected: boolean, failure: Error | undefined): void;
}

/** Pieces of a body above this go on without a copy. */
const LARGE_BYTES = 16_384;
/** Connections end, unless their sandbox says otherwise, before sandboxes tend to end them (5 s in Node). */
const KEEP_MS = 4000;
const MOST_KEEP_MS = 600_000;

/**
 * One connection to a sandbox: one request after the other, never two at once. A class, as a socket calls methods on one object for all its requests and closures
 * for each of them would cost more.
 */
export class UpstreamConnection implements ResponseSink, UpstreamControl {
  /** When it is to be ended unless something happens, on the monotonic clock; 0 for never. */
  deadlineMs: number;
  private readonly socket: Socket;
  private readonly owner: ConnectionOwner;
  private readonly reader = new ResponseReader(this);
  private request: UpstreamRequest | undefined;
  private handler: UpstreamHandler | undefined;
  private body: BodyWriter | undefined;
  /** Requests so far. */
  private requests = 0;
  /** Whether something of an answer to the request under way has come. */
  private heard = false;
  private headed = false;
  private connected = false;
  private paused = false;
  /** The buffer that is read into now, where it is not the shared one. */
  private own: Buffer | undefined;
  /** Whether a part of {@link own} is the client's for now. */
  private lent = false;
  /** Whether the last read brought much, in the middle of an answer. */
  private large = false;
  private failure: Error | undefined;

  /** Dials at once; the first request may be sent before anybody answers. */
  constructor(host: string, port: number, connectMs: number, nowMs: number, owner: ConnectionOwner) {
    this.owner = owner;
    this.deadlineMs = connectMs === 0 ? 0 : nowMs + connectMs;
    this.socket = connect({
      host,
      port,
      noDelay: true,
      onread: {
        buffer: () => this.nextBuffer(),
        callback: (length, bytes) => this.onRead(length, bytes as Buffer),
      },
    });
    this.socket
      .on('connect', () => this.onConnect())
      .on('end', () => this.onEnd())
      .on('error', (error) => {
        this.failure = error;
      })
      .on('close', () => this.onClose());
  }

  /** Whether a request may be sent on it: one that has ended may not have told its pool yet. */
  isUsable(nowMs: number): boolean {
    return this.socket.writable && nowMs < this.deadlineMs;
  }

  /** Sends a request; the connection must be idle. */
  send(request: UpstreamRequest, handler: UpstreamHandler, nowMs: number): void {
    this.request = request;
    this.handler = handler;
    this.requests++;
    this.heard = false;
    this.headed = false;
    if (this.connected) this.deadlineMs = deadline(nowMs, request.responseHeaderMs);
    this.reader.begin(request.method);
    // A body is read once there is somebody to send it to: should the dial fail, it is there for another.
    if (request.body === null || this.connected) this.write(request);
  }

  private write(request: UpstreamRequest): void {
    const { text, chunked } = requestHead(request);
    const { body } = request;
    if (body === null) this.socket.write(text, 'latin1');
    else {
      this.socket.cork();
      this.socket.write(text, 'latin1');
      // A body that has come already leaves with the head.
      setImmediate(uncork, this.socket);
      this.body = writeBody(
        this.socket,
        body,
        chunked,
        () => this.wroteBody(),
        (error) => this.fail(error),
      );
    }
  }

  pause(): void {
    this.paused = true;
    this.socket.pause();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.restartDeadline(performance.now());
    this.socket.resume();
  }

  /** What is awaited of the sandbox is awaited anew from now on. */
  restartDeadline(nowMs: number): void {
    const { request } = this;
    if (request === undefined || !this.connected) return;
    this.deadlineMs = deadline(nowMs, this.headed ? request.idleStreamMs : request.responseHeaderMs);
  }

  abort(): void {
    this.handler = undefined;
    this.socket.destroy();
  }

  /** Ends it at once; a request that is under way fails with the reason. */
  destroy(reason?: Error): void {
    this.failure ??= reason;
    this.socket.destroy();
  }

  /** Looks whether it is overdue. */
  watch(nowMs: number): void {
    if (this.deadlineMs === 0 || nowMs < this.deadlineMs || this.paused || this.owner.asleep) return;
    const { handler } = this;
    if (handler === undefined) this.socket.destroy();
    else if (!this.connected) this.fail(new UpstreamError('connect_timeout', 'nobody accepted the connection'));
    else if (this.headed) this.fail(new UpstreamError('stream_timeout', 'the answer stands still'));
    // A body that the client has not sent yet is nothing that a sandbox could answer.
    else if (this.body === undefined || this.body.done || this.socket.writableNeedDrain)
      this.fail(new UpstreamError('head_timeout', 'no answer came in time'));
  }

  private onConnect(): void {
    this.connected = true;
    this.deadlineMs = 0;
    this.restartDeadline(performance.now());
    this.owner.connected();
    const { request, handler } = this;
    if (request !== undefined && request.body !== null && handler !== undefined) this.write(request);
  }

  private nextBuffer(): Buffer {
    if (this.reader.bytesLeft <= LARGE_BYTES && !this.large) {
      if (this.own !== undefined && !this.lent) this.owner.buffers.give(this.own);
      this.own = undefined;
    } else if (this.own === undefined || this.lent) this.own = this.owner.buffers.take();
    this.lent = false;
    return this.own ?? this.owner.buffers.shared;
  }

  private onRead(length: number, bytes: Buffer): boolean {
    this.heard = true;
    try {
      this.reader.read(bytes, length);
    } catch (error) {
      this.fail(error as Error);
      return true;
    }
    this.large = length > LARGE_BYTES && !this.reader.isIdle;
    if (this.handler === undefined && this.reader.isIdle && !this.socket.destroyed) this.release();
    return true;
  }

  head(status: number, reason: string, fields: string[]): void {
    if (status >= 200) {
      this.headed = true;
      this.restartDeadline(performance.now());
    }
    this.handler?.onHead(status, reason, fields);
  }

  whole(body: string): void {
    this.handler?.onWhole(body);
  }

  data(bytes: Buffer, from: number, to: number): void {
    const { handler } = this;
    if (handler === undefined) return;
    this.restartDeadline(performance.now());
    if (bytes === this.own && !this.lent && to - from > LARGE_BYTES) {
      this.lent = true;
      handler.onData(bytes.subarray(from, to), () => this.owner.buffers.give(bytes));
    } else handler.onData(Buffer.from(bytes.subarray(from, to)), undefined);
  }

  end(trailers: string[]): void {
    const { handler } = this;
    this.handler = undefined;
    handler?.onEnd(trailers);
  }

  /** The answer is complete: keeps the connection if both sides may use it again. */
  private release(): void {
    const { keepMs } = this.reader;
    const { request, body } = this;
    this.request = undefined;
    this.body = undefined;
    const unfinished = body !== undefined && !body.done;
    if (unfinished) body.stop();
    // Servers that send a body after HEAD must not have it taken for the next answer.
    if (unfinished || keepMs === 0 || request?.method === 'HEAD') {
      this.socket.destroy();
      return;
    }
    this.deadlineMs = performance.now() + (keepMs < 0 ? KEEP_MS : Math.min(keepMs, MOST_KEEP_MS));
    if (this.paused) {
      this.paused = false;
      this.socket.resume();
    }
    this.owner.idle(this);
  }

  private wroteBody(): void {
    if (!this.headed) this.restartDeadline(performance.now());
  }

  private onEnd(): void {
    if (this.handler !== undefined) this.reader.finish();
    this.socket.destroy();
  }

  private onClose(): void {
    this.body?.stop();
    const { handler } = this;
    this.handler = undefined;
    if (this.own !== undefined && !this.lent) this.owner.buffers.give(this.own);
    this.own = undefined;
    const { failure } = this;
    this.owner.closed(this, this.connected, failure);
    if (handler === undefined) return;
    // Failures to connect, and what others cut it for, are told as they are.
    if (failure !== undefined && !this.connected) handler.onError(dialFailure(failure));
    else if (failure !== undefined && !('syscall' in failure)) handler.onError(failure);
    else handler.onError(new ConnectionClosedError(this.requests > 1 && !this.heard, failure));
  }

  /** Ends the connection; the handler is told now. */
  private fail(error: Error): void {
    const { handler } = this;
    this.handler = undefined;
    this.destroy(error);
    handler?.onError(error);
  }
}

function uncork(socket: Socket): void {
  socket.uncork();
}

function deadline(nowMs: number, boundMs: number): number {
  return boundMs === 0 ? 0 : nowMs + boundMs;
}
