/**
 * HTTP/1.1 towards sandboxes. Hand-written over `node:net`, as it costs less than half of undici's dispatch and copies no large body: requests are written from
 * what node:http has parsed, answers are read by {@link ResponseReader}, strictly.
 */
export type { UpstreamConnection } from './connection.ts';
export { createDispatcherPool, type DispatcherConnections } from './dispatcher-pool.ts';
export { ConnectionClosedError, UpstreamError } from './errors.ts';
export type { RequestBody, UpstreamControl, UpstreamHandler } from './exchange.ts';
export { createUpstreamPool, type UpstreamPool } from './pool.ts';
export { createReadBuffers } from './read-buffers.ts';
