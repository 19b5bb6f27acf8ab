import {
  type Client,
  credentials,
  Metadata,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type sendUnaryData,
} from '@grpc/grpc-js';

const bytes = (value: Buffer) => value;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});

/** Four kinds of calls; messages are bytes as they are. */
const SERVICE = {
  unary: method('Unary', false, false),
  clientStream: method('ClientStream', true, false),
  serverStream: method('ServerStream', false, true),
  both: method('Both', true, true),
} satisfies ServiceDefinition;

/** A server of gRPC in a sandbox's place. */
export interface GrpcSandbox {
  port: number;
  /** Calls that were taken back by whoever called. */
  cancelled(): number;
  /** Ends at once, with everything under way. */
  kill(): void;
}

/** Starts it on every address. Calls: `Unary` echoes; its metadata too, in trailers; `fail` fails with status 9, `hang` never answers. */
export async function startGrpcSandbox(): Promise<GrpcSandbox> {
  const server = new Server();
  let cancelled = 0;
  const echoed = (metadata: Metadata) => {
    const trailers = new Metadata();
    trailers.set('x-seen', String(metadata.get('x-sent')[0] ?? ''));
    trailers.set('x-bin-bin', Buffer.from([0, 255]));
    return trailers;
  };
  server.addService(SERVICE, {
    unary: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
      const text = call.request.toString();
      call.on('cancelled', () => cancelled++);
      if (text === 'hang') return;
      if (text === 'fail') done({ code: 9, details: 'as was asked — é%', metadata: echoed(call.metadata) });
      else done(null, call.request, echoed(call.metadata));
    },
    clientStream: (call: ServerReadableStream<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
      const parts: Buffer[] = [];
      call.on('data', (part: Buffer) => parts.push(part));
      call.on('end', () => done(null, Buffer.concat(parts), echoed(call.metadata)));
    },
    serverStream: (call: ServerWritableStream<Buffer, Buffer>) => {
      call.on('cancelled', () => cancelled++);
      const [count = 0, sizeBytes = 1] = call.request.toString().split('x').map(Number);
      let sent = 0;
      const send = () => {
        while (sent < count) {
          sent++;
          if (!call.write(Buffer.alloc(sizeBytes, sent))) {
            call.once('drain', send);
            return;
          }
        }
        call.end(echoed(call.metadata));
      };
      send();
    },
    both: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on('cancelled', () => cancelled++);
      call.on('data', (part: Buffer) => call.write(part));
      call.on('end', () => call.end(echoed(call.metadata)));
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('0.0.0.0:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { port, cancelled: () => cancelled, kill: () => server.forceShutdown() };
}

/** Client of {@link startGrpcSandbox}'s service at an address; `authority` is what it says to whom it talks. */
export function grpcClient(address: string, authority?: string): Client & Record<keyof typeof SERVICE, GrpcMethod> {
  const Echo = makeGenericClientConstructor(SERVICE, 'test.Echo');
  return new Echo(address, credentials.createInsecure(), {
    ...(authority === undefined ? {} : { 'grpc.default_authority': authority }),
    'grpc.enable_retries': 0,
  }) as never;
}

// biome-ignore lint/suspicious/noExplicitAny: a generic client's methods have as many forms as there are kinds of calls
type GrpcMethod = (...given: any[]) => any;
