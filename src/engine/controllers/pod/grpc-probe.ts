import { connect } from 'node:http2';

/** `HealthCheckResponse.SERVING`: field 1, a varint of 1. */
const SERVING = Buffer.from([0x08, 0x01]);
/** Compressed flag and length before each message. */
const PREFIX_BYTES = 5;

/**
 * Asks a server for its health (grpc.health.v1.Health/Check, github.com/grpc/grpc/blob/master/doc/health-checking.md). Undefined if it serves, else what it says.
 */
export function grpcProblem(
  address: string,
  { port, service = '' }: { port: number; service?: string },
  timeoutMs: number,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const session = connect(`http://${address}:${port}`);
    const end = (problem?: string) => {
      clearTimeout(timer);
      session.destroy();
      resolve(problem);
    };
    const timer = setTimeout(() => end(`no answer within ${timeoutMs} ms`), timeoutMs);
    session.on('error', (error) => end(error.message));
    const call = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const parts: Buffer[] = [];
    let status: unknown;
    call.on('response', (headers) => {
      status = headers['grpc-status'];
    });
    call.on('trailers', (trailers) => {
      status = trailers['grpc-status'] ?? status;
    });
    call.on('data', (part: Buffer) => parts.push(part));
    call.on('error', (error) => end(error.message));
    call.on('end', () => {
      const message = Buffer.concat(parts).subarray(PREFIX_BYTES);
      if (status !== '0') end(`gRPC status ${status ?? 'missing'}`);
      else end(message.equals(SERVING) ? undefined : 'the service is not serving');
    });
    call.end(framed(request(service)));
  });
}

/** `HealthCheckRequest`: field 1, the name of the service. Names of more than 127 bytes take a second byte for their length. */
function request(service: string): Buffer {
  const name = Buffer.from(service);
  if (name.length === 0) return name;
  const length = name.length < 128 ? [name.length] : [(name.length & 0x7f) | 0x80, name.length >> 7];
  return Buffer.concat([Buffer.from([0x0a, ...length]), name]);
}

function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
