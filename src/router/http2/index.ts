/**
 * HTTP/2 at the edge (RFC 9113): its connections are told from those of HTTP/1.1, and its requests made to look like theirs, so that they take the same way. It knows
 * nothing of sandboxes. What it costs a client to misbehave is bounded here (docs/security.md).
 */
export { createHttp2Edge, type Http2Abuse, type Http2Edge, type Http2EdgeOptions } from './edge.ts';
export { asUpgrade, type EdgeRequest } from './request.ts';
export type { EdgeResponse } from './response.ts';
export { Http2Tunnel } from './tunnel.ts';
