import { aCount, aLabel, aRate, entriesOf, listOf, type Reader, readMapping } from './structured.ts';
import { someTimeouts, type Timeouts } from './timeouts.ts';
import { parseDurationMs } from './values.ts';

/** Bounds of a tenant, which the routers share; what is absent has none. */
export interface TenantLimits {
  requestsPerSecond?: number;
  /** Requests that may come at once after a pause; a second's worth without it. */
  burst?: number;
  /** Requests being answered or held. */
  concurrency?: number;
  /** Requests held while their sandbox wakes. */
  held?: number;
  /** Sandboxes that run. */
  awake?: number;
  wakesPerMinute?: number;
  /** Open WebSockets and other upgraded connections. */
  webSockets?: number;
  /** Bytes of bodies and of streams, both ways together. */
  bytesPerSecond?: number;
  /** Largest request body. */
  maxBodyBytes?: number;
  /** Wakes under way at once. */
  concurrentWakes?: number;
}

/** Bounds of each sandbox of a tenant. */
export type SandboxLimits = Omit<TenantLimits, 'awake' | 'concurrentWakes'>;

/** A tenant as the configuration file has it. */
export interface TenantSettings {
  /** Its namespaces; `*` for all. */
  namespaces: readonly string[] | '*';
  /** Namespace of URLs that name none. */
  defaultNamespace: string;
  /** Egress classes of pods that it may reach; any without it. */
  egressClasses?: readonly string[];
  /** In place of the router's `runtimeClasses`. */
  runtimeClasses?: readonly string[];
  limits: TenantLimits;
  /** Its share of wakes where tenants compete, 1 without it. */
  weight?: number;
  sandboxLimits: SandboxLimits;
  /** For sandboxes without an annotation; 0 for never. */
  idleTimeoutMs?: number;
  /** In place of the router's. */
  timeouts?: Partial<Timeouts>;
}

const limitFields = {
  requestsPerSecond: aRate,
  burst: aCount,
  concurrency: aCount,
  held: aCount,
  awake: aCount,
  wakesPerMinute: aRate,
  webSockets: aCount,
  bytesPerSecond: aRate,
  maxBodyBytes: aCount,
  concurrentWakes: aCount,
};
const { awake: _awake, concurrentWakes: _concurrentWakes, ...sandboxLimitFields } = limitFields;
const aClass: Reader<string> = (raw, where) => {
  if (typeof raw !== 'string' || !/^[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$/.test(raw))
    throw new Error(`${where} must be a class such as restricted, not ${JSON.stringify(raw)}`);
  return raw;
};

/** The tenants of a configuration file by name. @throws Error that names tenant and key */
export function parseTenants(raw: unknown): ReadonlyMap<string, TenantSettings> {
  const owners = new Map<string, string>();
  const tenants = new Map<string, TenantSettings>();
  for (const [name, value] of entriesOf(raw, 'tenants')) {
    const tenant = parseTenant(aLabel(name, 'the name of a tenant'), value ?? {});
    if (tenant.namespaces !== '*')
      for (const namespace of tenant.namespaces) {
        const owner = owners.get(namespace);
        if (owner !== undefined)
          throw new Error(`tenants.${name}.namespaces: ${namespace} belongs to tenant ${owner} already`);
        owners.set(namespace, name);
      }
    tenants.set(name, tenant);
  }
  return tenants;
}

function parseTenant(name: string, raw: unknown): TenantSettings {
  const where = `tenants.${name}`;
  const { namespaces, defaultNamespace, idleTimeout, limits, sandboxLimits, ...classes } = readMapping(raw, where, {
    namespaces: (value, at) => (value === '*' ? ('*' as const) : listOf(aLabel)(value, at)),
    defaultNamespace: aLabel,
    egressClasses: listOf(aClass),
    runtimeClasses: listOf(aClass),
    limits: (value, at) => readMapping(value, at, limitFields),
    sandboxLimits: (value, at) => readMapping(value, at, sandboxLimitFields),
    weight: aRate,
    idleTimeout: anIdleTimeout,
    timeouts: someTimeouts,
  });
  const owned = namespaces ?? [name];
  const first = defaultNamespace ?? (owned === '*' || owned.includes(name) ? name : owned[0]);
  if (first === undefined) throw new Error(`${where}.namespaces must name at least one`);
  if (owned !== '*' && !owned.includes(first))
    throw new Error(`${where}.defaultNamespace must be one of its namespaces`);
  return {
    namespaces: owned,
    defaultNamespace: first,
    limits: limits ?? {},
    sandboxLimits: sandboxLimits ?? {},
    ...classes,
    ...(idleTimeout === undefined ? {} : { idleTimeoutMs: idleTimeout }),
  };
}

function anIdleTimeout(raw: unknown, where: string): number {
  if (raw === 'never') return 0;
  try {
    return parseDurationMs(String(raw));
  } catch (error) {
    throw new Error(`${where} ${(error as Error).message}, or never`);
  }
}
