import type { Problem, ProblemCode } from './problem.ts';

/** Codes of gRPC that the router answers with (its status codes, as gRPC numbers them). */
const GRPC = {
  deadlineExceeded: 4,
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** By HTTP status. Those of a proxy that can't pass a call on now are `UNAVAILABLE`, as gRPC's own mapping has them: what was not begun may be tried again. */
const BY_STATUS: Readonly<Record<number, number>> = {
  400: GRPC.invalidArgument,
  401: GRPC.unauthenticated,
  403: GRPC.permissionDenied,
  404: GRPC.notFound,
  409: GRPC.failedPrecondition,
  413: GRPC.resourceExhausted,
  422: GRPC.invalidArgument,
  429: GRPC.resourceExhausted,
  431: GRPC.resourceExhausted,
  500: GRPC.internal,
  501: GRPC.unimplemented,
  502: GRPC.unavailable,
  503: GRPC.unavailable,
  504: GRPC.deadlineExceeded,
};

/** What of a request tells how it wants to be answered. */
interface Asked {
  httpVersionMajor: number;
  headers: { 'content-type'?: string | undefined };
}

/** Whether a request is a call of gRPC: its client reads trailers, and no bodies of other kinds. */
export function isGrpc({ httpVersionMajor, headers }: Asked): boolean {
  return httpVersionMajor > 1 && /^application\/grpc(?:[+;]|$)/i.test(headers['content-type'] ?? '');
}

/** Status and message of a problem, which go as trailers of a call, or as all of its answer. */
export function grpcStatus(
  { code, detail }: Pick<Problem, 'code' | 'detail'>,
  status: number,
): { 'grpc-status': string; 'grpc-message': string } {
  return { 'grpc-status': String(BY_STATUS[status] ?? GRPC.internal), 'grpc-message': message(code, detail) };
}

/** Percent-encoded as gRPC has it: everything but printable ASCII, and the sign itself. */
function message(code: ProblemCode, detail: string): string {
  let text = '';
  for (const byte of Buffer.from(`${code}: ${detail}`))
    text +=
      byte < 0x20 || byte > 0x7e || byte === 0x25
        ? `%${byte.toString(16).padStart(2, '0').toUpperCase()}`
        : String.fromCharCode(byte);
  return text;
}
