import { InvalidResponseError } from './errors.ts';
import type { ResponseHead } from './response-head.ts';

/** How an answer's body ends, and what becomes of its connection. */
export interface Framing {
  /** Bytes of the body; {@link CHUNKED} or {@link UNTIL_CLOSE} where nobody knows yet. */
  length: number;
  /** Milliseconds for which the connection may be kept without a request; 0 where it ends with this answer, -1 where the sandbox doesn't say. */
  keepMs: number;
}

/** A body in chunks. */
export const CHUNKED = -1;
/** A body that ends with the connection. */
export const UNTIL_CLOSE = -2;

/** A server that says how long it keeps a connection begins to count before we do. */
const KEEP_MARGIN_MS = 1000;

/**
 * How the answer to a request of this method is framed (RFC 9112 section 6.3). Two lengths, a length beside chunks, and transfer codings that would have to be
 * undone are refused: others on the way might understand them in another way. @throws InvalidResponseError
 */
export function framingOf({ minor, status, fields }: ResponseHead, method: string): Framing {
  let length = UNTIL_CLOSE;
  let chunked = false;
  let keeps = minor === 1;
  let keepMs = -1;
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    const value = fields[index + 1] as string;
    // Told apart by their lengths first: most fields are none of these.
    switch (name.length) {
      case 10: {
        const lower = name.toLowerCase();
        if (lower === 'connection') keeps = keepsConnection(value, keeps);
        else if (lower === 'keep-alive') keepMs = keepAliveMs(value);
        break;
      }
      case 14:
        if (name.toLowerCase() !== 'content-length') break;
        if (length !== UNTIL_CLOSE || !/^\d{1,15}$/.test(value))
          throw new InvalidResponseError('no length, or more than one');
        length = Number(value);
        break;
      case 17:
        if (name.toLowerCase() !== 'transfer-encoding') break;
        if (chunked || value.toLowerCase() !== 'chunked')
          throw new InvalidResponseError('a transfer coding other than chunked');
        chunked = true;
        break;
    }
  }
  if (chunked && length !== UNTIL_CLOSE) throw new InvalidResponseError('a length beside chunks');
  if (!keeps) keepMs = 0;
  if (method === 'HEAD' || status === 204 || status === 304) return { length: 0, keepMs };
  // Chunks of HTTP/1.0 are not its own: whoever handed them on may not know where they end (RFC 9112 section 6.1).
  if (chunked) return { length: CHUNKED, keepMs: minor === 1 ? keepMs : 0 };
  return length === UNTIL_CLOSE ? { length, keepMs: 0 } : { length, keepMs };
}

function keepsConnection(value: string, before: boolean): boolean {
  if (value === 'keep-alive' || value === 'Keep-Alive') return true;
  const options = value.toLowerCase().split(',');
  if (options.some((option) => option.trim() === 'close')) return false;
  return before || options.some((option) => option.trim() === 'keep-alive');
}

function keepAliveMs(value: string): number {
  const seconds = /timeout=(\d{1,6})/i.exec(value)?.[1];
  return seconds === undefined ? -1 : Math.max(0, Number(seconds) * 1000 - KEEP_MARGIN_MS);
}
