import { type EgressClassSettings, parseEgressClasses } from './egress-classes.ts';
import { type Http2Settings, http2Settings } from './http2.ts';
import { identitySettings } from './identity-settings.ts';
import {
  boolean,
  count,
  countOrZero,
  duration,
  durationOrNever,
  listenAddress,
  millicores,
  nameServers,
  oneOf,
  text,
  textList,
} from './parsers.ts';
import { parseTenants, type TenantSettings } from './tenants.ts';
import { someTimeouts, type Timeouts } from './timeouts.ts';

/** Commands that take settings. */
export type ConfiguredCommand = 'up' | 'serve' | 'engine';

/** One setting: the single source of its file key, flag, environment variable, default and help text. */
export interface Setting<Value = unknown> {
  /** Key in the configuration file, in camel case; the flag and the variable are derived from it. */
  key: string;
  description: string;
  /** Placeholder in help texts; a setting without one is a switch. */
  placeholder?: string;
  /** What holds where nobody sets it; a function where it differs between commands. */
  default: Value | ((command: ConfiguredCommand) => Value);
  commands: readonly ConfiguredCommand[];
  /** Too much for a flag or a variable: the file alone has it. */
  fileOnly?: boolean;
  /** Turns the text of a flag or variable, or the value from the file, into the typed value; throws an Error that says what is wanted. */
  parse: (raw: unknown) => Value;
}

const all = ['up', 'serve', 'engine'] as const;
const routers = ['up', 'serve'] as const;
const engines = ['up', 'engine'] as const;

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
  engineListen: define({
    key: 'engineListen',
    description: "address of the engine's Kubernetes API (HTTPS)",
    placeholder: 'host:port',
    default: '127.0.0.1:6440',
    commands: engines,
    parse: listenAddress,
  }),
  nameServers: define({
    key: 'nameServers',
    description: "DNS servers that names which sandboxes may call are asked of; this machine's own without it",
    placeholder: 'address[:port],...',
    default: [] as readonly string[],
    commands: engines,
    parse: nameServers,
  }),
  imageLayouts: define<string | undefined>({
    key: 'imageLayouts',
    description:
      'directory of OCI layouts that images named oci:<name>[:<tag>] are read from; <state-dir>/images without it',
    placeholder: 'path',
    default: undefined,
    commands: engines,
    parse: text,
  }),
  preparedSandboxes: define({
    key: 'preparedSandboxes',
    description:
      'gVisor kernels kept ready for paused sandboxes that are likely to be called, which wake a third faster; 0 for none',
    placeholder: 'count',
    default: 4,
    commands: engines,
    parse: countOrZero,
  }),
  preparedBytes: define({
    key: 'preparedBytes',
    description: 'memory that these may take in all; they go when that of the machine is short',
    placeholder: 'bytes',
    default: 268_435_456,
    commands: engines,
    parse: countOrZero,
  }),
  stateDir: define({
    key: 'stateDir',
    description: 'directory of kubeconfig, token and everything the engine keeps',
    placeholder: 'path',
    default: '.sandbox-router',
    commands: engines,
    parse: text,
  }),
  runtime: define<'auto' | 'gvisor' | 'process'>({
    key: 'runtime',
    description: 'auto, gvisor or process (process isolates nothing)',
    placeholder: 'name',
    default: 'auto',
    commands: engines,
    parse: oneOf('auto', 'gvisor', 'process'),
  }),
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
  holdTimeoutMs: define({
    key: 'holdTimeout',
    description: 'longest time that a request is held while its sandbox wakes',
    placeholder: 'duration',
    default: 55_000,
    commands: routers,
    parse: duration,
  }),
  heldPerSandbox: define({
    key: 'heldPerSandbox',
    description: 'requests held at once for one sandbox',
    placeholder: 'count',
    default: 1000,
    commands: routers,
    parse: count,
  }),
  heldTotal: define({
    key: 'heldTotal',
    description: 'requests held at once in all',
    placeholder: 'count',
    default: 10_000,
    commands: routers,
    parse: count,
  }),
  heldBytes: define({
    key: 'heldBytes',
    description: 'memory that held requests may take in all',
    placeholder: 'bytes',
    default: 134_217_728,
    commands: routers,
    parse: count,
  }),
  sleepingPerSandbox: define({
    key: 'sleepingPerSandbox',
    description: 'connections of clients that sleep with one paused sandbox; more are closed',
    placeholder: 'count',
    default: 100,
    commands: routers,
    parse: count,
  }),
  sleepingTotal: define({
    key: 'sleepingTotal',
    description: 'connections that sleep with paused sandboxes in all',
    placeholder: 'count',
    default: 10_000,
    commands: routers,
    parse: count,
  }),
  concurrentWakes: define({
    key: 'concurrentWakes',
    description: 'wakes at once in this process; others wait in a queue that is fair between tenants',
    placeholder: 'count',
    default: (command) => (command === 'serve' ? 64 : 8),
    commands: routers,
    parse: count,
  }),
  unfurlerAgents: define<readonly string[]>({
    key: 'unfurlerAgents',
    description:
      'texts in User-Agent of link previews and crawlers, which do not wake (comma separated; "default" is those built in)',
    placeholder: 'texts',
    default: ['default'],
    commands: routers,
    parse: textList,
  }),
  monitorAgents: define<readonly string[]>({
    key: 'monitorAgents',
    description: 'the same for monitors',
    placeholder: 'texts',
    default: ['default'],
    commands: routers,
    parse: textList,
  }),
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
  idleTimeoutMs: define({
    key: 'idleTimeout',
    description: 'pause sandboxes without an annotation of their own after this time without use, or never',
    placeholder: 'duration|never',
    default: 0,
    commands: routers,
    parse: durationOrNever,
  }),
  idleCpuFloorMillicores: define({
    key: 'idleCpuFloor',
    description: 'CPU from which on its use keeps a sandbox awake (100m, 0.5), 0 for none; sandboxes may have another',
    placeholder: 'cpu',
    default: 0,
    commands: all,
    parse: millicores,
  }),
  activityIntervalMs: define({
    key: 'activityInterval',
    description: "how often a sandbox's use is told to the other routers: one write each time",
    placeholder: 'duration',
    default: 30_000,
    commands: ['serve'],
    parse: duration,
  }),
  leaseNamespace: define({
    key: 'leaseNamespace',
    description: 'namespace of the Lease by which routers choose the one that pauses idle sandboxes',
    placeholder: 'name',
    default: 'agent-sandbox-system',
    commands: ['serve'],
    parse: text,
  }),
  podSnapshots: define<'auto' | 'off'>({
    key: 'podSnapshots',
    description: 'auto takes a Pod snapshot (podsnapshot.gke.io) before an idle pause where the cluster serves them',
    placeholder: 'auto|off',
    default: 'auto',
    commands: ['serve'],
    parse: oneOf('auto', 'off'),
  }),
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

/** `--admin-listen` for `adminListen`. */
export function flagOf(setting: Pick<Setting, 'key'>): string {
  return `--${setting.key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `SANDBOX_ROUTER_ADMIN_LISTEN` for `adminListen`. */
export function variableOf(setting: Pick<Setting, 'key'>): string {
  return `SANDBOX_ROUTER_${setting.key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

function define<Value>(setting: Setting<Value>): Setting<Value> {
  return setting;
}
