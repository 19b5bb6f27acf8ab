import { type EgressClassSettings, parseEgressClasses } from './egress-classes.ts';
import { engineSettings } from './engine-settings.ts';
import { type Http2Settings, http2Settings } from './http2.ts';
import { identitySettings } from './identity-settings.ts';
import { idleSettings } from './idle-settings.ts';
import { boolean, countOrZero, duration, durationOrNever, listenAddress, oneOf, text, textList } from './parsers.ts';
import { all, define, routers, type Setting } from './setting.ts';
import { parseTenants, type TenantSettings } from './tenants.ts';
import { someTimeouts, type Timeouts } from './timeouts.ts';
import { traceSettings } from './trace-settings.ts';
import { wakeSettings } from './wake-settings.ts';

/** Every setting, in the order of help texts. */
export const settings = {
  listen: define({
    key: 'listen',
    description: 'address of the proxy',
    placeholder: 'host:port',
    default: (command) => (command === 'serve' ? '0.0.0.0:8080' : '127.0.0.1:8080'),
    commands: routers,
    parse: listenAddress,
  }),
  adminListen: define({
    key: 'adminListen',
    description: 'address of /metrics, /healthz and /readyz',
    placeholder: 'host:port',
    default: (command) => (command === 'serve' ? '0.0.0.0:9090' : '127.0.0.1:9090'),
    commands: routers,
    parse: listenAddress,
  }),
  ...engineSettings,
  kubeconfig: define<string | undefined>({
    key: 'kubeconfig',
    description: 'cluster to serve; without it: KUBECONFIG, then the in-cluster service account',
    placeholder: 'path',
    default: undefined,
    commands: ['serve'],
    parse: text,
  }),
  namespaces: define<readonly string[]>({
    key: 'namespaces',
    description: 'serve only these namespaces (comma separated); all without it',
    placeholder: 'names',
    default: [],
    commands: ['serve'],
    parse: textList,
  }),
  apiKeysFile: define<string | undefined>({
    key: 'apiKeysFile',
    description: 'file of hashed API keys, as "sandbox-router token create" writes it; hot reloaded',
    placeholder: 'path',
    default: undefined,
    commands: routers,
    parse: text,
  }),
  workers: define<number | 'auto'>({
    key: 'workers',
    description: 'processes that answer requests: a number, auto for one a core, 0 for none but the router itself',
    placeholder: 'number|auto',
    default: 0,
    commands: ['serve'],
    parse: (raw) => (raw === 'auto' ? 'auto' : countOrZero(raw)),
  }),
  ...identitySettings,
  insecureNoAuth: define({
    key: 'insecureNoAuth',
    description: 'let anybody in; refuses to listen on anything but loopback',
    default: false,
    commands: routers,
    parse: boolean,
  }),
  baseDomain: define<string | undefined>({
    key: 'baseDomain',
    description: 'domain of the host form <sandbox>--<namespace>--<port>.<domain>',
    placeholder: 'domain',
    default: (command) => (command === 'up' ? 'localhost' : undefined),
    commands: routers,
    parse: text,
  }),
  pathPrefix: define<string | undefined>({
    key: 'pathPrefix',
    description: 'turns on <prefix>/<namespace>/<sandbox>/<port>/<rest>',
    placeholder: '/prefix',
    default: undefined,
    commands: routers,
    parse: text,
  }),
  trustedProxies: define<readonly string[]>({
    key: 'trustedProxies',
    description: 'addresses or CIDRs whose X-Forwarded-* are believed (comma separated)',
    placeholder: 'cidrs',
    default: [],
    commands: routers,
    parse: textList,
  }),
  ...wakeSettings,
  maxBodyBytes: define({
    key: 'maxBodyBytes',
    description: 'largest request body, 0 for no bound',
    placeholder: 'bytes',
    default: 0,
    commands: routers,
    parse: countOrZero,
  }),
  rateLimitFields: define<'refusals' | 'always'>({
    key: 'rateLimitFields',
    description: 'refusals or always: which answers carry the RateLimit header fields',
    placeholder: 'which',
    default: 'refusals',
    commands: routers,
    parse: oneOf('refusals', 'always'),
  }),
  accessLog: define({
    key: 'accessLog',
    description: 'one JSON line a request on standard output',
    default: (command) => command === 'serve',
    commands: routers,
    parse: boolean,
  }),
  auditLog: define<string | undefined>({
    key: 'auditLog',
    description: 'file, stdout or stderr: who reached, woke, paused, claimed or was refused what, as JSON lines',
    placeholder: 'path|stderr',
    default: undefined,
    commands: routers,
    parse: text,
  }),
  ...traceSettings,
  sandboxSelector: define<string | undefined>({
    key: 'sandboxSelector',
    description: 'label selector of the Sandboxes to serve (default: all)',
    placeholder: 'selector',
    default: undefined,
    commands: ['serve'],
    parse: text,
  }),
  egressRequired: define({
    key: 'egressRequired',
    description: 'refuse pods without the label sandbox-router/egress',
    default: (command) => command === 'serve',
    commands: routers,
    parse: boolean,
  }),
  egressVerify: define<'off' | 'warn' | 'enforce'>({
    key: 'egressVerify',
    description: 'off, warn or enforce: refuse pods that no NetworkPolicy holds to their egress class',
    placeholder: 'mode',
    default: (command) => (command === 'serve' ? 'warn' : 'off'),
    commands: routers,
    parse: oneOf('off', 'warn', 'enforce'),
  }),
  egressClasses: define<ReadonlyMap<string, EgressClassSettings>>({
    key: 'egressClasses',
    description: 'what egress classes of your own promise',
    default: new Map(),
    commands: routers,
    fileOnly: true,
    parse: parseEgressClasses,
  }),
  runtimeRequire: define<'off' | 'named' | 'always'>({
    key: 'runtimeRequire',
    description:
      'off, named (a pod that names a RuntimeClass must name one of runtimeClasses) or always (and it must name one)',
    placeholder: 'mode',
    default: 'named',
    commands: routers,
    parse: oneOf('off', 'named', 'always'),
  }),
  runtimeClasses: define<readonly string[]>({
    key: 'runtimeClasses',
    description: 'RuntimeClasses of pods that may be reached (comma separated)',
    placeholder: 'names',
    default: ['gvisor'],
    commands: routers,
    parse: textList,
  }),
  tenants: define<ReadonlyMap<string, TenantSettings> | undefined>({
    key: 'tenants',
    description: 'who owns which namespaces, and what each may do; without it a tenant is a namespace of its name',
    default: undefined,
    commands: routers,
    fileOnly: true,
    parse: parseTenants,
  }),
  timeouts: define<Partial<Timeouts>>({
    key: 'timeouts',
    description: 'bounds of time towards sandboxes; tenants and sandboxes may have others',
    default: {},
    commands: routers,
    fileOnly: true,
    parse: (raw) => someTimeouts(raw, 'timeouts'),
  }),
  sandboxTlsCa: define<string | undefined>({
    key: 'sandboxTlsCa',
    description: "authorities of sandboxes' certificates (PEM; hot reloaded); those of the system without it",
    placeholder: 'path',
    default: undefined,
    commands: routers,
    parse: text,
  }),
  sandboxTlsVerify: define<'name' | 'ca' | 'off'>({
    key: 'sandboxTlsVerify',
    description:
      'what sandboxes that speak TLS must show: name (a certificate for <sandbox>.<namespace>.svc), ca (one of the authorities) or off (any)',
    placeholder: 'mode',
    default: 'name',
    commands: routers,
    parse: oneOf('name', 'ca', 'off'),
  }),
  http2: define<Partial<Http2Settings>>({
    key: 'http2',
    description: 'what a client of HTTP/2 may do on one connection',
    default: {},
    commands: routers,
    fileOnly: true,
    parse: (raw) => http2Settings(raw, 'http2'),
  }),
  maxTableAgeMs: define({
    key: 'maxTableAge',
    description: 'refuse requests (503) once the API server was not heard of for this time, or never',
    placeholder: 'duration|never',
    default: 0,
    commands: ['serve'],
    parse: durationOrNever,
  }),
  ...idleSettings,
  shutdownDelayMs: define({
    key: 'shutdownDelay',
    description:
      'time between /readyz turning 503 at SIGTERM and refusing connections: load balancers need it to notice',
    placeholder: 'duration',
    default: (command) => (command === 'serve' ? 5_000 : 0),
    commands: routers,
    parse: duration,
  }),
  drainTimeoutMs: define({
    key: 'drainTimeout',
    description: 'longest wait for open requests at shutdown',
    placeholder: 'duration',
    default: (command) => (command === 'serve' ? 30_000 : 2_000),
    commands: all,
    parse: duration,
  }),
} satisfies Record<string, Setting<never> | Setting<unknown>>;

/** Typed values of all settings. */
export type Settings = {
  [Name in keyof typeof settings]: (typeof settings)[Name] extends Setting<infer Value> ? Value : never;
};
