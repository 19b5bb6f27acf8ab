import type { WakeRefusal } from '../forward/index.ts';
import type { Principal } from '../identity/index.ts';
import { type Problem, type ProblemCode, ProblemError } from '../problem.ts';
import type { Route } from '../table/index.ts';
import { heldBytesOf, readPreferences, type WakeRequest } from '../wake/index.ts';
import type { Exchange } from './exchange.ts';
import type { LocateOptions } from './locate.ts';

/** What passes: a WebSocket that is refused for it is told to come again. */
export const TRY_LATER: ReadonlySet<ProblemCode> = new Set([
  'waking',
  'wake_failed',
  'table_not_ready',
  'too_many_held',
  'too_many_awake',
  'rate_limited',
]);

/** Close codes of RFC 6455 section 7.4 and its registry: try again later, policy violation. */
const TRY_AGAIN_LATER = 1013;
const POLICY_VIOLATION = 1008;

/** What a request that needs its sandbox awake asks for, within the rights and limits of who sent it. */
export function wakeRequestOf(
  options: Pick<LocateOptions, 'limits' | 'woke' | 'wakeEnded'>,
  exchange: Exchange,
  { scopes, tenant }: Principal,
  route: Route,
  port: number,
): WakeRequest & { held(): Problem | (() => void) } {
  const { limits } = options;
  return {
    route,
    port,
    mayWake: scopes.has('wake'),
    tenant: { name: tenant.name, weight: tenant.weight, concurrentWakes: tenant.limits.concurrentWakes },
    beginning: () => {
      const refused = limits.beginWake(tenant, route, performance.now());
      if (refused === undefined) options.woke(exchange);
      return refused;
    },
    ended: (wake) => {
      limits.endWake(route);
      if (wake.woke) options.wakeEnded(exchange, wake);
    },
    held: () => limits.hold(tenant, route) ?? (() => limits.release(tenant, route)),
  };
}

/** Wakes a sandbox for data that came on a connection which sleeps with it, as for another request of whoever opened it. */
export async function wakeForData(
  options: LocateOptions,
  exchange: Exchange,
  principal: Principal,
  route: Route,
  port: number,
  bytes: number,
  signal: AbortSignal,
): Promise<WakeRefusal | undefined> {
  try {
    const size = { rawHeaders: [], url: '', contentLength: bytes, hasBody: true, expectContinue: false };
    await wake(options, exchange, principal, route, port, heldBytesOf(size), signal);
    return undefined;
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    const { code, detail } = error.problem;
    return { closeCode: TRY_LATER.has(code) ? TRY_AGAIN_LATER : POLICY_VIOLATION, reason: detail };
  }
}

async function wake(
  options: LocateOptions,
  exchange: Exchange,
  principal: Principal,
  route: Route,
  port: number,
  bytes: number,
  signal: AbortSignal,
): Promise<void> {
  const { waker } = options;
  const refuseByClass = (pod: Route['pod']) => {
    const problem = options.refusedByClass(principal.tenant, route, pod);
    if (problem !== undefined) throw new ProblemError(problem);
  };
  refuseByClass(undefined);
  const request = wakeRequestOf(options, exchange, principal, route, port);
  const untilMs = performance.now() + waker.longestHoldMs(undefined, readPreferences(undefined));
  const release = request.held();
  if (typeof release !== 'function') throw new ProblemError(release);
  try {
    for (;;) {
      const joined = waker.join(request);
      if ('problem' in joined) throw new ProblemError(joined.problem);
      const result = await waker.hold(joined.wake, { port, timeoutMs: untilMs - performance.now(), bytes, signal });
      if (!('problem' in result)) {
        refuseByClass(result.pod);
        return;
      }
      // Paused again before it was awake: nobody else would ask once more, as for a request its client would.
      const again = result.problem.code === 'waking' && joined.wake.outcome !== undefined && !signal.aborted;
      if (!again || performance.now() >= untilMs) throw new ProblemError(result.problem);
    }
  } finally {
    release();
  }
}
