export { type BrowserOptions, createBrowserGate } from './browser-gate.ts';
export type { Exchange, RequestOutcome } from './exchange.ts';
export { createProxy, type ProxyOptions, type SandboxProxy } from './proxy.ts';
