export type { RequestOutcome } from './exchange.ts';
export { createProxy, type ProxyOptions, type SandboxProxy } from './proxy.ts';
