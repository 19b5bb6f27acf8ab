import { randomBytes } from 'node:crypto';
import { Http2ServerRequest, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { ReadableOptions } from 'node:stream';
import { socketOf } from './sockets.ts';

/**
 * A request of HTTP/2 that looks to every stage as one of HTTP/1.1 does: raw headers without pseudo-headers, a Host, cookies in one line, a body that is
 * announced, and the client's real connection.
 */
export class EdgeRequest extends Http2ServerRequest {
  override readonly socket: Socket;
  override readonly connection: Socket;
  /** Whether the whole body was read; one that broke off is not complete. */
  override complete = false;
  /** Size of its header fields, as SETTINGS_MAX_HEADER_LIST_SIZE counts. */
  readonly headerBytes: number;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    options: ReadableOptions,
    rawHeaders: readonly string[],
  ) {
    headers.host ??= headers[':authority'] as string | undefined;
    super(stream, headers, options, ordinaryHeaders(rawHeaders, !stream.endAfterHeaders));
    this.socket = socketOf(stream);
    this.connection = this.socket;
    this.headerBytes = sizeOf(rawHeaders);
    this.once('end', () => {
      this.complete = true;
    });
  }
}

/** RFC 9113 section 10.5.1. */
function sizeOf(raw: readonly string[]): number {
  let bytes = raw.length * 16;
  for (const text of raw) bytes += text.length;
  return bytes;
}

/** Makes of an extended CONNECT (RFC 8441) the upgrade that it stands for; undefined for any other CONNECT. */
export function asUpgrade(request: Http2ServerRequest): Http2ServerRequest | undefined {
  const { headers, rawHeaders } = request;
  const protocol = headers[':protocol'];
  if (typeof protocol !== 'string' || request.url === undefined) return undefined;
  headers[':method'] = 'GET';
  headers.upgrade = protocol;
  // HTTP/2 has no use for the key: both ends know that the other means it. Sandboxes ask for one.
  if (headers['sec-websocket-key'] === undefined) {
    headers['sec-websocket-key'] = randomBytes(16).toString('base64');
    rawHeaders.push('sec-websocket-key', headers['sec-websocket-key']);
  }
  if (headers['sec-websocket-version'] === undefined) {
    headers['sec-websocket-version'] = '13';
    rawHeaders.push('sec-websocket-version', '13');
  }
  return request;
}

/** The fields of a request, as HTTP/1.1 would have them. */
function ordinaryHeaders(raw: readonly string[], bodyFollows: boolean): string[] {
  const headers: string[] = [];
  let authority: string | undefined;
  let cookies: string | undefined;
  let framed = !bodyFollows;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    if (name === ':authority') authority = value;
    else if (name === 'cookie') cookies = cookies === undefined ? value : `${cookies}; ${value}`;
    else if (!name.startsWith(':')) {
      // The same host said twice is said once; another one is a contradiction that is refused as two Hosts are (RFC 9113 section 8.3.1).
      if (name === 'host' && value === authority) continue;
      if (name === 'content-length') framed = true;
      headers.push(name, value);
    }
  }
  if (authority !== undefined) headers.push('host', authority);
  // Compression may have split them (RFC 9113 section 8.2.3).
  if (cookies !== undefined) headers.push('cookie', cookies);
  if (!framed) headers.push('transfer-encoding', 'chunked');
  return headers;
}
