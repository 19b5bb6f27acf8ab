import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionOptions,
  connect,
  type IncomingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';

/** An answer of HTTP/2 with everything that it had. */
export interface Http2Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
  trailers: IncomingHttpHeaders;
  /** Interim answers, in their order. */
  interim: IncomingHttpHeaders[];
}

/** A stream that ended by a reset. */
export class ResetError extends Error {
  readonly code: number;
  readonly received: string;

  constructor(code: number, received: string) {
    super(`the stream was reset with code ${code}`);
    this.code = code;
    this.received = received;
  }
}

/** One connection of HTTP/2 to a router. */
export interface Http2Connection {
  session: ClientHttp2Session;
  /** Opens a stream and leaves the rest to the caller. */
  open(headers: Record<string, string | string[]>, endStream?: boolean): ClientHttp2Stream;
  /** One request; `body` is sent whole. @throws ResetError where the answer breaks off */
  send(headers: Record<string, string | string[]>, body?: string | Buffer): Promise<Http2Answer>;
  close(): void;
}

/** Connects; with `token` every request carries it. */
export async function http2Client(
  url: string,
  token?: string,
  options: ClientSessionOptions | SecureClientSessionOptions = {},
): Promise<Http2Connection> {
  // A test may write far ahead: in megabytes.
  const session = connect(url, { maxSessionMemory: 500, ...options });
  session.on('error', () => {});
  await once(session, 'remoteSettings');
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const open = (headers: Record<string, string | string[]>, endStream = false) => {
    const stream = session.request({ ...authorization, ...headers }, { endStream });
    stream.on('error', () => {});
    return stream;
  };
  return {
    session,
    open,
    send: (headers, body) => {
      const stream = open(headers, body === undefined);
      if (body !== undefined) stream.end(body);
      return answerOf(stream);
    },
    close: () => session.destroy(),
  };
}

/** Reads an answer to its end. @throws ResetError where it breaks off */
export async function answerOf(stream: ClientHttp2Stream): Promise<Http2Answer> {
  const interim: IncomingHttpHeaders[] = [];
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  let body = '';
  stream.on('headers', (each) => interim.push(each));
  stream.on('response', (each) => {
    headers = each;
  });
  stream.on('trailers', (each) => {
    trailers = each;
  });
  stream.setEncoding('latin1');
  stream.on('data', (chunk: string) => {
    body += chunk;
  });
  if (!stream.destroyed) await new Promise<void>((resolve) => stream.once('close', resolve));
  if (stream.rstCode !== 0) throw new ResetError(stream.rstCode ?? -1, body);
  return { status: Number(headers[':status']), headers, body, trailers, interim };
}
