import type { Problem, ProblemCode } from '../problem.ts';
import type { Route } from '../table/index.ts';
import type { AwakeCount } from './awake.ts';
import { createPacer, type Pacer } from './pacer.ts';
import { type Quota, rateLimitField, rateLimitPolicyField } from './rate-limit-fields.ts';
import type { Tenant, TenantUsage } from './tenants.ts';
import { type Rate, type TokenBucket, takeToken, tokensLeft } from './token-bucket.ts';

/** Holds tenants to their limits in this router. Times are those of the monotonic clock. */
export interface Limits {
  /** Takes a request in, unless it is too many: then nothing is taken. Whoever gets in leaves by {@link Limits.leave}. */
  enter(tenant: Tenant, nowMs: number): Problem | undefined;
  leave(usage: TenantUsage): void;
  /** Takes one request of the control API, which is counted in requests a second alone. */
  take(tenant: Tenant, nowMs: number): Problem | undefined;
  /** Before a claim, as its sandbox will be awake. */
  mayClaim(tenant: Tenant): Problem | undefined;
  /** The limits of one sandbox. */
  enterSandbox(tenant: Tenant, route: Route, nowMs: number): Problem | undefined;
  /** Before a wake is begun for a tenant. */
  beginWake(tenant: Tenant, route: Route, nowMs: number): Problem | undefined;
  endWake(route: Route): void;
  /** Before a request is held; whoever may be held leaves by {@link Limits.release}. */
  hold(tenant: Tenant, route: Route): Problem | undefined;
  release(tenant: Tenant, route: Route): void;
  /** Before a tunnel is opened; whoever may open one gives it back by {@link Limits.closeTunnel}. */
  openTunnel(tenant: Tenant, route: Route): Problem | undefined;
  closeTunnel(tenant: Tenant, route: Route): void;
  /** Largest body that a request may bring; Infinity without a bound. */
  maxBodyBytes(tenant: Tenant): number;
  /** Who keeps the books of its bytes; undefined where nobody asks for them. */
  pacer(tenant: Tenant, route: Route): Pacer | undefined;
  /** RateLimit header fields (name, value, …) that tell where a tenant stands; undefined if it has no such limit. */
  fields(tenant: Tenant, nowMs: number): string[] | undefined;
}

/** What is counted of one sandbox whose tenant limits each of them. */
interface SandboxUsage {
  requests: TokenBucket;
  wakes: TokenBucket;
  held: number;
  webSockets: number;
  bytesPaidAtMs: number;
}

/** For bounds that free up when somebody else ends, which nobody can foretell. */
const SOON_SECONDS = 1;
/** A sandbox must go to sleep first. */
const AWAKE_RETRY_SECONDS = 10;
const WAKE_WINDOW_SECONDS = 60;

/** Limits over a count of sandboxes awake. `typicalWakeSeconds` says how long requests are usually held. */
export function createLimits(awake: AwakeCount, typicalWakeSeconds: () => number): Limits {
  const ofSandboxes = new WeakMap<Route, SandboxUsage>();

  function usageOf(route: Route): SandboxUsage {
    const known = ofSandboxes.get(route);
    if (known !== undefined) return known;
    const usage = { requests: { fullAtMs: 0 }, wakes: { fullAtMs: 0 }, held: 0, webSockets: 0, bytesPaidAtMs: 0 };
    ofSandboxes.set(route, usage);
    return usage;
  }

  function take({ name, limits, usage }: Tenant, nowMs: number): Problem | undefined {
    if (limits.requests === undefined) return undefined;
    const waitMs = takeToken(usage.requests, limits.requests, nowMs);
    return waitMs > 0
      ? refuseRate(`Tenant ${name} sends more requests than it may`, 'tenant-requests', limits.requests, waitMs)
      : undefined;
  }

  function mayClaim(tenant: Tenant): Problem | undefined {
    const { name, limits } = tenant;
    return awake.of(tenant) >= limits.awake
      ? refuse('too_many_awake', `Tenant ${name} may have ${limits.awake} sandboxes awake.`, AWAKE_RETRY_SECONDS)
      : undefined;
  }

  return {
    take,
    mayClaim,
    enter: (tenant, nowMs) => {
      const { name, limits, usage } = tenant;
      if (usage.inFlight >= limits.concurrency)
        return refuseAtOnce(`Tenant ${name} has too many requests at once`, 'tenant-concurrency', limits.concurrency);
      const refused = take(tenant, nowMs);
      if (refused === undefined) usage.inFlight++;
      return refused;
    },
    leave: (usage) => {
      usage.inFlight--;
    },
    enterSandbox: ({ sandboxLimits }, route, nowMs) => {
      if (sandboxLimits === undefined) return undefined;
      const { name } = route.sandbox;
      if (route.activity.inFlight >= sandboxLimits.concurrency)
        return refuseAtOnce(`${name} has too many requests at once`, 'sandbox-concurrency', sandboxLimits.concurrency);
      if (sandboxLimits.requests === undefined) return undefined;
      const waitMs = takeToken(usageOf(route).requests, sandboxLimits.requests, nowMs);
      return waitMs > 0
        ? refuseRate(`${name} is sent more requests than it takes`, 'sandbox-requests', sandboxLimits.requests, waitMs)
        : undefined;
    },
    beginWake: (tenant, route, nowMs) => {
      const { name, limits, sandboxLimits, usage } = tenant;
      const { sandbox } = route;
      const tooMany = mayClaim(tenant);
      if (tooMany !== undefined) return tooMany;
      if (sandboxLimits?.wakes !== undefined) {
        const waitMs = takeToken(usageOf(route).wakes, sandboxLimits.wakes, nowMs);
        if (waitMs > 0)
          return refuseRate(`${sandbox.name} was woken too often`, 'sandbox-wakes', sandboxLimits.wakes, waitMs);
      }
      if (limits.wakes !== undefined) {
        const waitMs = takeToken(usage.wakes, limits.wakes, nowMs);
        if (waitMs > 0)
          return refuseRate(`Tenant ${name} woke too many sandboxes`, 'tenant-wakes', limits.wakes, waitMs);
      }
      awake.begin(sandbox.namespace, sandbox.name);
      return undefined;
    },
    endWake: ({ sandbox }) => awake.end(sandbox.namespace, sandbox.name),
    hold: ({ name, limits, sandboxLimits, usage }, route) => {
      if (usage.held >= limits.held)
        return refuse('too_many_held', `Tenant ${name} may have ${limits.held} requests held.`, typicalWakeSeconds());
      if (sandboxLimits !== undefined) {
        const ofSandbox = usageOf(route);
        if (ofSandbox.held >= sandboxLimits.held)
          return refuse(
            'too_many_held',
            `${route.sandbox.name} may have ${sandboxLimits.held} requests held.`,
            typicalWakeSeconds(),
          );
        ofSandbox.held++;
      }
      usage.held++;
      return undefined;
    },
    release: ({ usage }, route) => {
      usage.held--;
      const ofSandbox = ofSandboxes.get(route);
      // Limits may have come while it was held.
      if (ofSandbox !== undefined && ofSandbox.held > 0) ofSandbox.held--;
    },
    openTunnel: ({ name, limits, sandboxLimits, usage }, route) => {
      if (usage.webSockets >= limits.webSockets)
        return refuseAtOnce(`Tenant ${name} has too many WebSockets open`, 'tenant-websockets', limits.webSockets);
      if (sandboxLimits !== undefined) {
        const ofSandbox = usageOf(route);
        if (ofSandbox.webSockets >= sandboxLimits.webSockets)
          return refuseAtOnce(
            `${route.sandbox.name} has too many WebSockets open`,
            'sandbox-websockets',
            sandboxLimits.webSockets,
          );
        ofSandbox.webSockets++;
      }
      usage.webSockets++;
      return undefined;
    },
    closeTunnel: ({ usage }, route) => {
      usage.webSockets--;
      const ofSandbox = ofSandboxes.get(route);
      if (ofSandbox !== undefined && ofSandbox.webSockets > 0) ofSandbox.webSockets--;
    },
    maxBodyBytes: ({ limits, sandboxLimits }) =>
      Math.min(limits.maxBodyBytes, sandboxLimits?.maxBodyBytes ?? Number.POSITIVE_INFINITY),
    pacer: ({ limits, sandboxLimits, usage }, route) => {
      const ofSandbox = sandboxLimits?.bytesPerSecond ?? Number.POSITIVE_INFINITY;
      if (limits.bytesPerSecond === Number.POSITIVE_INFINITY && ofSandbox === Number.POSITIVE_INFINITY)
        return undefined;
      return createPacer([
        [usage, limits.bytesPerSecond],
        ...(ofSandbox === Number.POSITIVE_INFINITY ? [] : [[usageOf(route), ofSandbox] as const]),
      ]);
    },
    fields: ({ limits, usage }, nowMs) => {
      if (limits.requests === undefined) return undefined;
      const { remaining, resetMs } = tokensLeft(usage.requests, limits.requests, nowMs);
      const quota = { ...quotaOf('tenant-requests', limits.requests), remaining, resetSeconds: resetMs / 1000 };
      return ['ratelimit-policy', rateLimitPolicyField(quota), 'ratelimit', rateLimitField(quota)];
    },
  };
}

function refuse(code: ProblemCode, detail: string, retryAfterSeconds: number, quota?: Quota): Problem {
  return {
    code,
    detail,
    retryAfterSeconds,
    ...(quota && { rateLimit: { policy: rateLimitPolicyField(quota), state: rateLimitField(quota) } }),
  };
}

/** More than a rate allows. A bucket of `burst` that fills in a window is the quota of that window. */
function refuseRate(who: string, policy: string, rate: Rate, waitMs: number): Problem {
  const quota = { ...quotaOf(policy, rate), remaining: 0, resetSeconds: waitMs / 1000 };
  const each = policy.endsWith('wakes')
    ? `${round(rate.perSecond * WAKE_WINDOW_SECONDS)} a minute`
    : `${round(rate.perSecond)} a second`;
  return refuse('rate_limited', `${who}: ${each}.`, waitMs / 1000, quota);
}

/** More at once than there may be. */
function refuseAtOnce(who: string, policy: string, most: number): Problem {
  const quota = { policy, quota: most, unit: 'concurrent-requests' as const, remaining: 0 };
  return refuse('rate_limited', `${who}: ${most} here.`, SOON_SECONDS, quota);
}

function quotaOf(policy: string, { perSecond, burst }: Rate): Pick<Quota, 'policy' | 'quota' | 'windowSeconds'> {
  return { policy, quota: burst, windowSeconds: Math.max(1, Math.ceil(burst / perSecond)) };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
