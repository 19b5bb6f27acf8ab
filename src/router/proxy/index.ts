export type { RequestOutcome } from './exchange.ts';
export { createProxy, type Proxy, type ProxyOptions } from './proxy.ts';
