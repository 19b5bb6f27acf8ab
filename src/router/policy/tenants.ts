import type { SandboxLimits, TenantLimits, TenantSettings, Timeouts } from '../../config/index.ts';
import type { Rate, TokenBucket } from './token-bucket.ts';

/** Limits in the form in which they are asked on every request; Infinity where there is none. */
export interface CompiledLimits {
  requests: Rate | undefined;
  wakes: Rate | undefined;
  concurrency: number;
  held: number;
  awake: number;
  concurrentWakes: number;
  webSockets: number;
  bytesPerSecond: number;
  maxBodyBytes: number;
}

/** Which of how many routers this one is: each has its part of the limits. */
export interface RouterShare {
  /** From 0. */
  rank: number;
  replicas: number;
}

/** What a tenant uses of its limits now. Outlives a reload of the configuration. */
export interface TenantUsage {
  requests: TokenBucket;
  wakes: TokenBucket;
  inFlight: number;
  held: number;
  webSockets: number;
  /** When the bytes that went through will have been paid for, on the monotonic clock. */
  bytesPaidAtMs: number;
}

/** Somebody who owns namespaces. */
export interface Tenant {
  readonly name: string;
  readonly defaultNamespace: string;
  readonly namespaces: ReadonlySet<string> | '*';
  /** Any where undefined. */
  readonly egressClasses: ReadonlySet<string> | undefined;
  /** The router's own where undefined. */
  readonly runtimeClasses: ReadonlySet<string> | undefined;
  /** This router's part of them: changes with the number of routers. */
  limits: CompiledLimits;
  /** Of each of its sandboxes; undefined where there are none. */
  sandboxLimits: CompiledLimits | undefined;
  readonly idleTimeoutMs: number | undefined;
  /** Its share of wakes where tenants compete. */
  readonly weight: number;
  /** The router's own where undefined. */
  readonly timeouts: Partial<Timeouts> | undefined;
  readonly usage: TenantUsage;
}

/** All tenants. */
export interface Tenants {
  /** Without configuration every name is a tenant: the namespace of that name. */
  find(name: string): Tenant | undefined;
  /** Whose namespace it is, if anybody's. */
  ownerOf(namespace: string): Tenant | undefined;
  /** Whether the configuration names tenants: then they own what it says, and nobody else is one. */
  isConfigured(): boolean;
  /** Whether any tenant has a bound on sandboxes awake. */
  limitAwake(): boolean;
  /** Whether any tenant has a limit of which each router has its part. */
  areLimited(): boolean;
  /** How the limits are shared from now on; at first this router is alone. */
  share(share: RouterShare): void;
  replace(settings: ReadonlyMap<string, TenantSettings> | undefined): void;
}

/** Tenants by the configuration. */
export function createTenants(settings: ReadonlyMap<string, TenantSettings> | undefined): Tenants {
  let byName: Map<string, Tenant> | undefined;
  let byNamespace = new Map<string, Tenant>();
  let inForce: ReadonlyMap<string, TenantSettings> | undefined;
  let part: RouterShare = { rank: 0, replicas: 1 };

  function replace(next: ReadonlyMap<string, TenantSettings> | undefined): void {
    const before = byName;
    inForce = next;
    byNamespace = new Map();
    byName = undefined;
    if (next === undefined) return;
    byName = new Map();
    for (const [name, tenantSettings] of next) {
      const tenant = compileTenant(name, tenantSettings, before?.get(name)?.usage ?? newUsage(), part);
      byName.set(name, tenant);
      if (tenant.namespaces !== '*') for (const namespace of tenant.namespaces) byNamespace.set(namespace, tenant);
    }
  }

  replace(settings);
  return {
    find: (name) => (byName === undefined ? implicitTenant(name) : byName.get(name)),
    ownerOf: (namespace) => (byName === undefined ? implicitTenant(namespace) : byNamespace.get(namespace)),
    isConfigured: () => byName !== undefined,
    limitAwake: () => [...(byName?.values() ?? [])].some(({ limits }) => limits.awake !== Number.POSITIVE_INFINITY),
    areLimited: () =>
      [...(inForce?.values() ?? [])].some(
        ({ limits, sandboxLimits }) => Object.keys(limits).length + Object.keys(sandboxLimits).length > 0,
      ),
    share: (share) => {
      part = share;
      // In place: principals that are remembered have the tenant itself.
      for (const [name, { limits, sandboxLimits }] of inForce ?? []) {
        const tenant = byName?.get(name);
        if (tenant !== undefined) Object.assign(tenant, compileBoth(limits, sandboxLimits, part));
      }
    },
    replace,
  };
}

/** A tenant of whom the configuration says nothing: a namespace of that name, without limits. */
export function implicitTenant(name: string): Tenant {
  const settings = { namespaces: [name], defaultNamespace: name, limits: {}, sandboxLimits: {} };
  return compileTenant(name, settings, newUsage(), { rank: 0, replicas: 1 });
}

function compileTenant(name: string, settings: TenantSettings, usage: TenantUsage, share: RouterShare): Tenant {
  const { namespaces, defaultNamespace, egressClasses, runtimeClasses, limits, sandboxLimits } = settings;
  return {
    name,
    defaultNamespace,
    namespaces: namespaces === '*' ? '*' : new Set(namespaces),
    egressClasses: egressClasses && new Set(egressClasses),
    runtimeClasses: runtimeClasses && new Set(runtimeClasses),
    ...compileBoth(limits, sandboxLimits, share),
    idleTimeoutMs: settings.idleTimeoutMs,
    weight: settings.weight ?? 1,
    timeouts: settings.timeouts,
    usage,
  };
}

function compileBoth(
  limits: TenantLimits,
  sandboxLimits: SandboxLimits,
  share: RouterShare,
): Pick<Tenant, 'limits' | 'sandboxLimits'> {
  return {
    limits: compileLimits(limits, share),
    sandboxLimits: Object.keys(sandboxLimits).length === 0 ? undefined : compileLimits(sandboxLimits, share),
  };
}

function compileLimits(limits: TenantLimits, { rank, replicas }: RouterShare): CompiledLimits {
  // Parts of whole numbers add up to the whole, save that none is 0: a router that may do nothing would refuse whoever it is sent.
  const part = (whole: number | undefined) =>
    whole === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(1, Math.floor(whole / replicas) + (rank < whole % replicas ? 1 : 0));
  const rate = (perSecond: number | undefined, burst: number): Rate | undefined =>
    perSecond === undefined
      ? undefined
      : { perSecond: perSecond / replicas, burst: part(Math.max(1, Math.ceil(burst))) };
  const { requestsPerSecond, burst, wakesPerMinute } = limits;
  return {
    requests: rate(requestsPerSecond, burst ?? requestsPerSecond ?? 0),
    wakes: rate(wakesPerMinute === undefined ? undefined : wakesPerMinute / 60, wakesPerMinute ?? 0),
    concurrency: part(limits.concurrency),
    held: part(limits.held),
    concurrentWakes: part(limits.concurrentWakes),
    // The table tells of all sandboxes that are awake, whoever woke them.
    awake: limits.awake ?? Number.POSITIVE_INFINITY,
    webSockets: part(limits.webSockets),
    bytesPerSecond: (limits.bytesPerSecond ?? Number.POSITIVE_INFINITY) / replicas,
    maxBodyBytes: limits.maxBodyBytes ?? Number.POSITIVE_INFINITY,
  };
}

function newUsage(): TenantUsage {
  return { requests: { fullAtMs: 0 }, wakes: { fullAtMs: 0 }, inFlight: 0, held: 0, webSockets: 0, bytesPaidAtMs: 0 };
}
