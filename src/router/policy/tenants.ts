import type { SandboxLimits, TenantLimits, TenantSettings } from '../../config/index.ts';
import type { Rate, TokenBucket } from './token-bucket.ts';

/** Limits in the form in which they are asked on every request; Infinity where there is none. */
export interface CompiledLimits {
  requests: Rate | undefined;
  wakes: Rate | undefined;
  concurrency: number;
  held: number;
  awake: number;
}

/** What a tenant uses of its limits now. Outlives a reload of the configuration. */
export interface TenantUsage {
  requests: TokenBucket;
  wakes: TokenBucket;
  inFlight: number;
  held: number;
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
  readonly limits: CompiledLimits;
  /** Of each of its sandboxes; undefined where there are none. */
  readonly sandboxLimits: CompiledLimits | undefined;
  readonly idleTimeoutMs: number | undefined;
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
  replace(settings: ReadonlyMap<string, TenantSettings> | undefined): void;
}

/** Tenants by the configuration. */
export function createTenants(settings: ReadonlyMap<string, TenantSettings> | undefined): Tenants {
  let byName: Map<string, Tenant> | undefined;
  let byNamespace = new Map<string, Tenant>();

  function replace(next: ReadonlyMap<string, TenantSettings> | undefined): void {
    const before = byName;
    byNamespace = new Map();
    byName = undefined;
    if (next === undefined) return;
    byName = new Map();
    for (const [name, tenantSettings] of next) {
      const tenant = compileTenant(name, tenantSettings, before?.get(name)?.usage ?? newUsage());
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
    replace,
  };
}

/** A tenant of whom the configuration says nothing: a namespace of that name, without limits. */
export function implicitTenant(name: string): Tenant {
  const settings = { namespaces: [name], defaultNamespace: name, limits: {}, sandboxLimits: {} };
  return compileTenant(name, settings, newUsage());
}

function compileTenant(name: string, settings: TenantSettings, usage: TenantUsage): Tenant {
  const { namespaces, defaultNamespace, egressClasses, runtimeClasses, limits, sandboxLimits } = settings;
  return {
    name,
    defaultNamespace,
    namespaces: namespaces === '*' ? '*' : new Set(namespaces),
    egressClasses: egressClasses && new Set(egressClasses),
    runtimeClasses: runtimeClasses && new Set(runtimeClasses),
    limits: compileLimits(limits),
    sandboxLimits: Object.keys(sandboxLimits).length === 0 ? undefined : compileLimits(sandboxLimits),
    idleTimeoutMs: settings.idleTimeoutMs,
    usage,
  };
}

function compileLimits(limits: TenantLimits & SandboxLimits): CompiledLimits {
  const { requestsPerSecond: perSecond, wakesPerMinute } = limits;
  return {
    requests:
      perSecond === undefined ? undefined : { perSecond, burst: limits.burst ?? Math.max(1, Math.ceil(perSecond)) },
    wakes:
      wakesPerMinute === undefined
        ? undefined
        : { perSecond: wakesPerMinute / 60, burst: Math.max(1, Math.ceil(wakesPerMinute)) },
    concurrency: limits.concurrency ?? Number.POSITIVE_INFINITY,
    held: limits.held ?? Number.POSITIVE_INFINITY,
    awake: limits.awake ?? Number.POSITIVE_INFINITY,
  };
}

function newUsage(): TenantUsage {
  return { requests: { fullAtMs: 0 }, wakes: { fullAtMs: 0 }, inFlight: 0, held: 0 };
}
