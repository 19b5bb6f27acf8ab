import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { ProtobufError } from './protobuf.ts';

/** Status codes of gRPC that are answered here. */
export const Status = {
  OK: 0,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
} as const;

/** A call that ends with a status other than OK. */
export class GrpcError extends Error {
  readonly code = 'grpc_error';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** One call, seen by the method that answers it. */
export interface Call {
  /** Aborted when the caller left or the deadline passed; the reason is a {@link GrpcError} for the latter. */
  signal: AbortSignal;
  /** Sends a message. Resolves once there is room for the next. */
  send(message: Buffer): Promise<void>;
}

/** Answers one method: gets the request's message, sends what it has to say, and returns when that is all. @throws GrpcError */
export type Method = (request: Buffer, call: Call) => Promise<void>;

/** Longest request message: gRPC's usual bound. */
const MOST_REQUEST_BYTES = 4 * 2 ** 20;
const HEADER_BYTES = 5;
const TIMEOUT_UNITS_MS: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** A gRPC server without TLS for methods with one request message (the protocol "gRPC over HTTP2"); `methods` by full path. */
export function createGrpcServer(methods: ReadonlyMap<string, Method>): Http2Server {
  const server = createServer();
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    answer(stream, headers, methods);
  });
  server.on('sessionError', () => {});
  return server;
}

async function answer(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  methods: ReadonlyMap<string, Method>,
): Promise<void> {
  if (headers[':method'] !== 'POST' || !/^application\/grpc([+;]|$)/.test(headers['content-type'] ?? '')) {
    stream.respond({ ':status': 415, 'content-type': 'text/plain' });
    stream.end('This port speaks gRPC.\n');
    return;
  }
  const left = new AbortController();
  stream.on('close', () => left.abort());
  let timer: NodeJS.Timeout | undefined;
  const end = (status: number, message = '') => {
    clearTimeout(timer);
    if (stream.destroyed || stream.closed) return;
    const trailers = { 'grpc-status': String(status), ...(message === '' ? {} : { 'grpc-message': encode(message) }) };
    if (!stream.headersSent) {
      // Nothing was sent: one block of headers says it all ("Trailers-Only").
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...trailers }, { endStream: true });
    } else {
      stream.once('wantTrailers', () => stream.sendTrailers(trailers));
      stream.end();
    }
  };
  const send = async (message: Buffer): Promise<void> => {
    left.signal.throwIfAborted();
    if (!stream.headersSent)
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32BE(message.length, 1);
    const hasRoom = stream.write(Buffer.concat([header, message]));
    if (!hasRoom) await drained(stream);
  };
  try {
    const timeoutMs = timeoutOf(headers['grpc-timeout']);
    if (timeoutMs !== undefined)
      timer = setTimeout(
        () => left.abort(new GrpcError(Status.DEADLINE_EXCEEDED, 'the deadline passed')),
        Math.min(timeoutMs, LONGEST_TIMER_MS),
      );
    const path = headers[':path'] ?? '';
    const method = methods.get(path);
    if (method === undefined) throw new GrpcError(Status.UNIMPLEMENTED, `there is no method ${path}`);
    await method(await readMessage(stream), { signal: left.signal, send });
    end(Status.OK);
  } catch (error) {
    const reason = left.signal.aborted && left.signal.reason instanceof GrpcError ? left.signal.reason : error;
    if (reason instanceof GrpcError) end(reason.status, reason.message);
    else if (reason instanceof ProtobufError) end(Status.INVALID_ARGUMENT, reason.message);
    else end(Status.UNKNOWN, (reason as Error).message);
  }
}

/** The one message of a request. @throws GrpcError */
async function readMessage(stream: ServerHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > MOST_REQUEST_BYTES + HEADER_BYTES)
      throw new GrpcError(Status.RESOURCE_EXHAUSTED, `the request is over ${MOST_REQUEST_BYTES} bytes`);
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  if (body.length < HEADER_BYTES || body.readUInt32BE(1) !== body.length - HEADER_BYTES)
    throw new GrpcError(Status.INVALID_ARGUMENT, 'the request is not one whole message');
  if (body[0] !== 0) throw new GrpcError(Status.UNIMPLEMENTED, 'compressed messages are not understood');
  return body.subarray(HEADER_BYTES);
}

/** Milliseconds of a grpc-timeout header (`100m`, `2S`); undefined without one. @throws GrpcError */
export function timeoutOf(header: string | string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  const [, digits, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(String(header)) ?? [];
  if (digits === undefined) throw new GrpcError(Status.INVALID_ARGUMENT, `grpc-timeout ${header} is no time`);
  return Number(digits) * (TIMEOUT_UNITS_MS[unit] ?? 1);
}

function drained(stream: ServerHttp2Stream): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}

/** Percent-encoding of grpc-message: printable ASCII but for `%`. */
function encode(message: string): string {
  return [...Buffer.from(message)]
    .map((byte) =>
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('');
}
