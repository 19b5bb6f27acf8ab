export type { EgressClassSettings } from './egress-classes.ts';
export { DEFAULT_HTTP2, type Http2Settings } from './http2.ts';
export type { CertificateRule, JwtIssuerSettings, TokenReviewSettings } from './identity-settings.ts';
export { ConfigError, type ConfigSources, loadSettings } from './load.ts';
export { type ConfiguredCommand, flagOf, type Setting, variableOf } from './setting.ts';
export { type Settings, settings } from './settings.ts';
export type { SandboxLimits, TenantLimits, TenantSettings } from './tenants.ts';
export { DEFAULT_TIMEOUTS, parseTimeoutList, type Timeouts } from './timeouts.ts';
export { tracesUrl } from './trace-settings.ts';
export {
  isLoopback,
  nearest,
  parseDurationMs,
  parseListenAddress,
  parseMillicores,
  parseNameServer,
} from './values.ts';
