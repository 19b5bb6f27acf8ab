/** Why a sandbox gave no answer, or not the whole of one. */
export type UpstreamErrorCode =
  | 'connect_timeout'
  /** The pod was given up before it accepted the connection: nothing was sent. */
  | 'not_dialled'
  | 'head_timeout'
  | 'stream_timeout'
  | 'invalid_response'
  | 'closed';

/** A connection to a sandbox failed. Failures of the system, such as ECONNREFUSED, come as they are, as `cause` where a request was under way. */
export class UpstreamError extends Error {
  readonly code: UpstreamErrorCode;

  constructor(code: UpstreamErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UpstreamError';
    this.code = code;
  }
}

/** What a request is told that waits for a connection to a pod which was given up meanwhile. */
export function notDialled(cause: Error): UpstreamError {
  return new UpstreamError('not_dialled', 'the connection was given up before it was there', { cause });
}

/** What a request is told whose connection nobody accepted: failures of the system and timeouts as they are. */
export function dialFailure(failure: Error): Error {
  return 'syscall' in failure || failure instanceof UpstreamError ? failure : notDialled(failure);
}

/** What came is no answer in HTTP/1.1 (RFC 9112). */
export class InvalidResponseError extends UpstreamError {
  constructor(message: string) {
    super('invalid_response', message);
    this.name = 'InvalidResponseError';
  }
}

/** The connection ended before the answer did. `reused`: it had carried a request before this one, and nothing of an answer to this one had come. */
export class ConnectionClosedError extends UpstreamError {
  readonly reused: boolean;

  constructor(reused: boolean, cause?: Error) {
    super('closed', 'the connection ended before the answer did', cause && { cause });
    this.name = 'ConnectionClosedError';
    this.reused = reused;
  }
}
