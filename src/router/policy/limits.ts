import type { Problem, ProblemCode } from '../problem.ts';
import type { Route } from '../table/index.ts';
import type { AwakeCount } from './awake.ts';
import type { Tenant, TenantUsage } from './tenants.ts';
import { type TokenBucket, takeToken } from './token-bucket.ts';

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
  hold(tenant: Tenant): Problem | undefined;
  release(tenant: Tenant): void;
}

/** For bounds that free up when somebody else ends, which nobody can foretell. */
const SOON_SECONDS = 1;
/** A sandbox must go to sleep first. */
const AWAKE_RETRY_SECONDS = 10;

/** Limits over a count of sandboxes awake. `typicalWakeSeconds` says how long requests are usually held. */
export function createLimits(awake: AwakeCount, typicalWakeSeconds: () => number): Limits {
  /** Of sandboxes whose tenant limits each of them. */
  const ofSandboxes = new WeakMap<Route, { requests: TokenBucket; wakes: TokenBucket }>();

  function bucketsOf(route: Route) {
    const known = ofSandboxes.get(route);
    if (known !== undefined) return known;
    const buckets = { requests: { fullAtMs: 0 }, wakes: { fullAtMs: 0 } };
    ofSandboxes.set(route, buckets);
    return buckets;
  }

  function take({ name, limits, usage }: Tenant, nowMs: number): Problem | undefined {
    if (limits.requests === undefined) return undefined;
    const waitMs = takeToken(usage.requests, limits.requests, nowMs);
    return waitMs > 0
      ? refuse('rate_limited', `Tenant ${name} may send ${limits.requests.perSecond} requests a second.`, waitMs / 1000)
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
        return refuse('rate_limited', `Tenant ${name} may have ${limits.concurrency} requests at once.`, SOON_SECONDS);
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
        return refuse('rate_limited', `${name} may have ${sandboxLimits.concurrency} requests at once.`, SOON_SECONDS);
      if (sandboxLimits.requests === undefined) return undefined;
      const waitMs = takeToken(bucketsOf(route).requests, sandboxLimits.requests, nowMs);
      return waitMs > 0
        ? refuse('rate_limited', `${name} takes ${sandboxLimits.requests.perSecond} requests a second.`, waitMs / 1000)
        : undefined;
    },
    beginWake: (tenant, route, nowMs) => {
      const { name, limits, sandboxLimits, usage } = tenant;
      const { sandbox } = route;
      const tooMany = mayClaim(tenant);
      if (tooMany !== undefined) return tooMany;
      if (sandboxLimits?.wakes !== undefined) {
        const waitMs = takeToken(bucketsOf(route).wakes, sandboxLimits.wakes, nowMs);
        if (waitMs > 0)
          return refuse('rate_limited', `${sandbox.name} was woken too often in the last minute.`, waitMs / 1000);
      }
      if (limits.wakes !== undefined) {
        const waitMs = takeToken(usage.wakes, limits.wakes, nowMs);
        if (waitMs > 0)
          return refuse('rate_limited', `Tenant ${name} woke too many sandboxes in the last minute.`, waitMs / 1000);
      }
      awake.begin(sandbox.namespace, sandbox.name);
      return undefined;
    },
    endWake: ({ sandbox }) => awake.end(sandbox.namespace, sandbox.name),
    hold: ({ name, limits, usage }) => {
      if (usage.held >= limits.held)
        return refuse('too_many_held', `Tenant ${name} may have ${limits.held} requests held.`, typicalWakeSeconds());
      usage.held++;
      return undefined;
    },
    release: ({ usage }) => {
      usage.held--;
    },
  };
}

function refuse(code: ProblemCode, detail: string, retryAfterSeconds: number): Problem {
  return { code, detail, retryAfterSeconds };
}
