import { isApiError, type ResourceClient } from '../../../kubernetes/index.ts';
import { type Cause, describeCause, type Ledger, plain, type Transitions, type Uses } from '../../ledger/index.ts';
import type { SandboxWriter } from '../../sandbox-writer.ts';
import { busyMs, type Route, type RoutingTable } from '../../table/index.ts';
import { pauseInTwoPhases } from '../two-phase-pause.ts';
import type { ActivityTracker } from './activity.ts';
import { takePodSnapshot } from './pod-snapshot.ts';
import { createActivityReporter } from './reporter.ts';
import { judgeIdle } from './verdict.ts';

/** What pausing idle sandboxes needs. */
export interface IdlePauserOptions {
  /** For snapshots. */
  client: ResourceClient;
  writer: SandboxWriter;
  table: RoutingTable;
  activity: ActivityTracker;
  /** Brings `activity` up to date where other processes answer requests; asked right before a pause. */
  refreshActivity?(): Promise<void>;
  /** 0 for never. */
  idleTimeoutMsOf(route: Route): number;
  /** Told of what keeps a sandbox awake although nobody calls. */
  uses: Pick<Uses, 'saw'>;
  /** CPU from which on its use counts, in thousandths; 0 for none. */
  cpuFloorMillicoresOf(route: Route): number;
  /** Asked for CPU use while any sandbox has a floor, where nobody else tells of it. */
  askCpuUsage?(): void;
  ledger: Pick<Ledger, 'record'>;
  transitions: Pick<Transitions, 'paused'>;
  /** How often activity is reported to other routers; 0 where there are none. */
  reportIntervalMs: number;
  /** When this router began to hear of everything, on the monotonic clock; undefined while it does not. */
  knownSinceMs(): number | undefined;
  /** Only the leader pauses. */
  isLeader(): boolean;
  /** Whether to take a Pod snapshot before a pause: where the cluster serves them; an engine takes its own. */
  podSnapshots(): Promise<boolean>;
  paused(result: 'ok' | 'cancelled' | 'failed'): void;
  failed(what: string, error: unknown): void;
}

/** Pauses under way at once: snapshots are heavy. */
const PAUSES_AT_ONCE = 4;
/** How long other routers and processes may take to say that they use what is about to be paused: twice the time between their reports. */
const DRAIN_MS = 2000;
/** Sandboxes looked at in a tick: of a hundred thousand each has its turn every five seconds, and no request waits long for that. */
const ROUTES_A_TICK = 20_000;
/** For so long CPU use that was heard of is what keeps a sandbox awake; then there is news, or it ended. */
const CPU_NEWS_MS = 20_000;
/** A sandbox whose pause failed is left alone for so long. */
const RETRY_MS = 60_000;

/** Reports activity, and pauses what is idle. `tick` is called once a second. */
export function createIdlePauser(options: IdlePauserOptions) {
  const { client, writer, table, activity, reportIntervalMs } = options;
  const pausing = new Set<string>();
  const retryAtMs = new Map<string, number>();
  /** Where the present round over all sandboxes stands. */
  let round: Iterator<Route> | undefined;
  const { idleTimeoutMsOf } = options;
  const reporter = createActivityReporter({
    writer,
    intervalMs: reportIntervalMs,
    idleTimeoutMsOf,
    failed: (error) => options.failed('reporting activity', error),
  });

  function verdictOn(route: Route) {
    const { sandbox, pod, activity } = route;
    const nowMs = performance.now();
    const stamps = [
      pod?.createdAtMs ?? 0,
      sandbox.reportedActiveMs === 0 ? 0 : sandbox.reportedActiveMs + reportIntervalMs,
      pod?.cpuActiveAtMs ?? 0,
    ];
    return judgeIdle({
      nowMs,
      idleTimeoutMs: idleTimeoutMsOf(route),
      running: sandbox.running && !sandbox.pooled && !sandbox.finished && table.isRoutable(route),
      inFlight: activity.inFlight,
      busyMs: busyMs(pod?.busy, Date.now()),
      seenMs: activity.lastMs,
      heardMs: activity.heardMs,
      cpuMs: activity.cpuMs,
      knownMs: options.knownSinceMs() ?? nowMs,
      stampedIdleMs: Date.now() - Math.max(...stamps),
      reportDelayMs: reportIntervalMs,
    });
  }

  /** Decide, snapshot, decide again, and pause only what nobody has touched since it was looked at. */
  async function pause(route: Route): Promise<void> {
    const { namespace, name } = route.sandbox;
    if (route.pod !== undefined && (await options.podSnapshots())) await takePodSnapshot(client, route.pod, new Date());
    await options.refreshActivity?.();
    if (!verdictOn(route).pause || !options.isLeader()) {
      options.paused('cancelled');
      return;
    }
    const rule = ruleOf(route);
    const use = lastUse(route);
    const outcome = await pauseInTwoPhases(route, {
      writer,
      // Others report use once a second, and then the version is another: the API refuses, and nothing is paused.
      drainMs: reportIntervalMs > 0 ? DRAIN_MS : 0,
      inFlightMs: 0,
      fenced: true,
      stillWanted: async () => {
        await options.refreshActivity?.();
        return verdictOn(route).pause && options.isLeader();
      },
    });
    if (outcome.paused) options.transitions.paused(route, rule, use);
    else {
      const { uid } = route.sandbox;
      options.ledger.record({ namespace, name, uid }, { type: 'pause_cancelled', cause: rule, detail: outcome.detail });
    }
    options.paused(outcome.paused ? 'ok' : 'cancelled');
  }

  /** Work that no request stands for, for the ledger. */
  function noteSilentUse(route: Route): void {
    const { pod, activity } = route;
    if (activity.inFlight > 0) return;
    if (busyMs(pod?.busy, Date.now()) > 0)
      options.uses.saw(route, { via: 'rule', rule: `a busy lease: ${plain(pod?.busy?.why ?? '')}` });
    else if (activity.cpuMs > activity.lastMs && performance.now() - activity.cpuMs < CPU_NEWS_MS)
      options.uses.saw(route, { via: 'rule', rule: 'its CPU use' });
  }

  function ruleOf(route: Route): Cause {
    const given = route.sandbox.idleTimeoutMs === undefined ? '' : ' (sandbox-router/idle-timeout)';
    return { via: 'rule', rule: `unused for ${Math.round(idleTimeoutMsOf(route) / 1000)} s${given}` };
  }

  function lastUse({ activity: { usedBy, lastMs } }: Route): string | undefined {
    if (usedBy === undefined || lastMs === 0) return undefined;
    return `last used by ${describeCause(usedBy)}, ${Math.round((performance.now() - lastMs) / 1000)} s before`;
  }

  function begin(route: Route): void {
    const { uid, namespace, name } = route.sandbox;
    pausing.add(uid);
    pause(route)
      .catch((error) => {
        if (isApiError(error, 'NotFound')) {
          options.paused('cancelled');
          return;
        }
        retryAtMs.set(uid, performance.now() + RETRY_MS);
        options.paused('failed');
        options.ledger.record(
          { namespace, name, uid },
          { type: 'pause_failed', cause: ruleOf(route), detail: (error as Error).message },
        );
        options.failed(`pausing ${namespace}/${name}, which stays awake`, error);
      })
      .finally(() => pausing.delete(uid));
  }

  return {
    tick: (): void => {
      const used = activity.take(performance.now());
      if (reportIntervalMs > 0) reporter.report(used, performance.now());
      if (!options.isLeader()) return;
      for (const [uid, atMs] of retryAtMs) if (atMs <= performance.now()) retryAtMs.delete(uid);
      for (let looked = 0; looked < ROUTES_A_TICK && pausing.size < PAUSES_AT_ONCE; looked++) {
        round ??= table.routes()[Symbol.iterator]();
        const { value: route, done } = round.next();
        if (done) {
          round = undefined;
          return;
        }
        if (idleTimeoutMsOf(route) === 0) continue;
        if (options.askCpuUsage !== undefined && options.cpuFloorMillicoresOf(route) > 0) options.askCpuUsage();
        noteSilentUse(route);
        const { uid } = route.sandbox;
        if (!pausing.has(uid) && !retryAtMs.has(uid) && verdictOn(route).pause) begin(route);
      }
    },
  };
}
