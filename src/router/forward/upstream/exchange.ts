import type { Readable } from 'node:stream';

/** What follows the head of a request. */
export interface RequestBody extends Readable {
  /** Trailers (name, value, …), once it has ended. */
  rawTrailers?: string[];
}

/** A request for a sandbox. */
export interface UpstreamRequest {
  method: string;
  /** Path and query, byte for byte. */
  path: string;
  /** name, value, …; with `Host`, without `Connection` and `Transfer-Encoding`. */
  headers: readonly string[];
  /** What follows the head, or null. With a `Content-Length` it has that length, otherwise it goes in chunks. */
  body: RequestBody | null;
  /** For opening a connection. */
  connectMs: number;
  /** From the request to the head of its answer; 0 for no bound. */
  responseHeaderMs: number;
  /** Between two parts of an answer; 0 for no bound. */
  idleStreamMs: number;
}

/** Told what becomes of a request. An error is the last call, as is the end. */
export interface UpstreamHandler {
  /**
   * An interim answer (1xx), any number of times, then the final one. `headers`: name, value, … with the bytes that they had. `isAll`, of HTTP/2 alone: whether
   * the answer ended with its head.
   */
  onHead(status: number, reason: string, headers: string[], isAll?: boolean): void;
  /** A small body that came whole, as latin1; the end follows. */
  onWhole(body: string): void;
  /** A part of the body. `release` is called as soon as nobody needs its bytes any more; undefined where they need not be given back. */
  onData(chunk: Buffer, release: (() => void) | undefined): void;
  /** The answer is complete. `trailers`: name, value, … */
  onEnd(trailers: string[]): void;
  /** No answer, or not the whole of one. */
  onError(error: Error): void;
}

/** What a handler may do with its request. */
export interface UpstreamControl {
  /** Nothing more of the answer is wanted for now. */
  pause(): void;
  resume(): void;
  /** Gives the request up, with its connection; the handler hears nothing more of it. */
  abort(): void;
}
