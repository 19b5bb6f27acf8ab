import type { ProblemCode } from '../problem.ts';
import type { Route, RoutingTable } from '../table/index.ts';
import type { WakePhase } from './phases.ts';
import type { Wake } from './wake.ts';
import type { Waker } from './waker.ts';

/** The state of a wake as `/-/v1/wakes/<id>` tells it; times in milliseconds. */
export interface WakeStatus {
  id: string;
  sandbox: string;
  namespace: string;
  status: 'waking' | 'ready' | 'failed';
  /** The one under way; null when it has ended. */
  phase: WakePhase | null;
  /** Wakes before it in the queue. */
  position: number;
  /** Phases that have ended. */
  durationsMs: Partial<Record<WakePhase, number>>;
  elapsedMs: number;
  /** How long it will yet take by the wakes before it; null where that is not known. */
  expectedMs: number | null;
  /** Why it failed. */
  problem: { code: ProblemCode; detail: string } | null;
}

/** Where the state of a wake is told. */
export const WAKES_PATH = '/-/v1/wakes/';
const WAKE_URL = /^\/-\/v1\/wakes\/[0-9a-f-]{36}\.[a-z0-9-]{1,63}\.[a-z0-9-]{1,63}$/;

/** Whether a URL is that of a wake's state, which no sandbox would have by chance. */
export function isWakeUrl(url: string): boolean {
  return url.startsWith(WAKES_PATH) && WAKE_URL.test(url);
}

/** Namespace and name in the id of a wake; undefined where it is none. */
export function sandboxOfWake(id: string): { namespace: string; name: string } | undefined {
  const [, namespace, name, ...more] = id.split('.');
  return isWakeUrl(WAKES_PATH + id) && namespace !== undefined && name !== undefined && more.length === 0
    ? { namespace, name }
    : undefined;
}

/** State of a wake that another process began, by the table alone. */
export function strangeWakeStatus(id: string, route: Route, table: RoutingTable): WakeStatus {
  const { sandbox } = route;
  const ready = table.isRoutable(route);
  return {
    id,
    sandbox: sandbox.name,
    namespace: sandbox.namespace,
    status: sandbox.finished ? 'failed' : ready ? 'ready' : 'waking',
    phase: sandbox.finished || ready ? null : sandbox.running ? 'schedule' : 'queue',
    position: 0,
    durationsMs: {},
    elapsedMs: 0,
    expectedMs: ready ? 0 : null,
    problem: sandbox.finished
      ? { code: 'sandbox_finished', detail: `${sandbox.name} has ended for good (${sandbox.readyReason}).` }
      : null,
  };
}

/** State of a wake now. */
export function wakeStatus(wake: Wake, waker: Pick<Waker, 'expectedMs'>): WakeStatus {
  const { outcome, phases, route } = wake;
  const durations = phases.durations();
  const failed = outcome !== undefined && !('pod' in outcome);
  const elapsedMs =
    outcome === undefined
      ? performance.now() - phases.startedAtMs
      : durations.reduce((sum, { durationMs }) => sum + durationMs, 0);
  return {
    id: wake.id,
    sandbox: route.sandbox.name,
    namespace: route.sandbox.namespace,
    status: outcome === undefined ? 'waking' : failed ? 'failed' : 'ready',
    phase: outcome === undefined ? (phases.current() ?? null) : null,
    position: wake.ticket?.position() ?? 0,
    durationsMs: Object.fromEntries(durations.map(({ phase, durationMs }) => [phase, round(durationMs)])),
    elapsedMs: round(elapsedMs),
    expectedMs: outcome === undefined ? roundOrNull(waker.expectedMs(wake)) : 0,
    problem: failed ? { code: outcome.code, detail: outcome.detail } : null,
  };
}

/** Phases as `Server-Timing` has them (W3C Server Timing), after the whole wait of this one request. */
export function serverTiming(wake: Wake, waitedMs: number, firstByteMs: number): string {
  const phases = wake.phases.durations().map(({ phase, durationMs }) => `${phase};dur=${durationMs.toFixed(1)}`);
  return [`wake;dur=${waitedMs.toFixed(1)}`, ...phases, `firstbyte;dur=${firstByteMs.toFixed(1)}`].join(', ');
}

function roundOrNull(value: number | undefined): number | null {
  return value === undefined ? null : round(value);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
