export { addForwardingHeaders, createTrustedProxies, type TrustedProxies } from './forwarding-headers.ts';
export { type ForwardRequest, forwardHttp, type UpstreamFailure } from './http.ts';
export { type BytePacer, createPacedStream } from './pacing.ts';
export { createUpstreamPools, type UpstreamPools } from './pools.ts';
export { type ScannedHeaders, scanHeaders } from './request-headers.ts';
export type { BrowserRewrite, RewriteContext } from './response-headers.ts';
export { createTunnels, type Tunnels } from './upgrade.ts';
export { webSocketRefusal } from './websocket-refusal.ts';
