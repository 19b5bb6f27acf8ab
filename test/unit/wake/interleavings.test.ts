import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import fc from 'fast-check';
import { createLines, type Line } from '../../../src/router/forward/lines.ts';
import { ProblemError } from '../../../src/router/problem.ts';
import { createRoutingTable, type PodRecord, type Route } from '../../../src/router/table/index.ts';
import {
  approach,
  createActivityTracker,
  createAsleepAnswers,
  createIdlePauser,
  createWaker,
  isLeaving,
  keepRunningWhileUsed,
  pauseInTwoPhases,
} from '../../../src/router/wake/index.ts';
import { createFakeCluster, type FakeCluster } from './fake-cluster.ts';

/** 10,000 in a full run: INTERLEAVINGS=10000 npm test -- unit/wake/interleavings */
const RUNS = Number(process.env.INTERLEAVINGS ?? 500);
const HOLD_MS = 20_000;
/** A deadline may be missed by so much. */
const LATE_MS = 100;
/** What a wake takes at most here, with the delays of the fake cluster and a pause that is completed before it. */
const WAKE_MS = 1500;
/** As forwarding does it: pauses before a refused dial is tried again, and how often a request joins another wake. */
const DIAL_RETRY_MS = [100, 200, 400];
const MOST_REJOINS = 5;
const NOT_DIALLED = 'not_dialled';
const flush = () => new Promise<void>((resolve) => setImmediate(resolve));

type Step =
  | { do: 'request'; router: number; kind: 'use' | 'head' | 'noWake'; timeoutMs: number; serviceMs: number }
  | { do: 'leave'; choice: number }
  | { do: 'apiPause'; router: number }
  | { do: 'kubectl'; running: boolean }
  | { do: 'step'; choice: number }
  | { do: 'advance'; ms: number }
  | { do: 'apiDown'; ms: number; entirely: boolean }
  | { do: 'fail'; what: 'snapshot' | 'restore' }
  | { do: 'restart'; router: number };

interface Asked {
  id: number;
  kind: 'use' | 'head' | 'noWake';
  arrivedMs: number;
  timeoutMs: number;
  router: Router;
  leaving: AbortController;
  /** Times that it reached a pod, and when the first was. */
  forwarded: number;
  forwardedMs?: number;
  outcome?: string;
  endedMs?: number;
}

/** The clock of everything: timers of the code under test, its monotonic clock, and the cluster's delays. */
interface Clock {
  nowMs: number;
}

type Router = ReturnType<typeof createRouter>;

/** The parts of a router that wake and pause, over its own watch of the cluster. */
function createRouter(cluster: FakeCluster, clock: Clock, name: string, leads: boolean, alone: boolean) {
  const table = createRoutingTable();
  const watcher = cluster.watch(table);
  const writer = cluster.writerFor(name);
  const reportIntervalMs = alone ? 0 : 1000;
  let waking = 0;
  const waker = createWaker({
    table,
    writer: {
      ...writer,
      setRunning: async (key, running, fence) => {
        if (++waking > 1) cluster.violations.push(`${name} asked for two wakes at once`);
        try {
          return await writer.setRunning(key, running, fence);
        } finally {
          waking--;
        }
      },
    },
    limits: { holdTimeoutMs: HOLD_MS, heldPerSandbox: 1000, heldTotal: 1000, heldBytes: 1 << 30, concurrentWakes: 4 },
    finished: () => {},
    accepts: async (address) => await cluster.connect(address),
  });
  const lines = createLines(table, { sleepingPerSandbox: 1000, sleepingTotal: 1000 });
  const activity = createActivityTracker();
  const failures: unknown[] = [];
  const failed = (_what: string, error: unknown) => failures.push(error);
  const stopKeeping = keepRunningWhileUsed({ table, writer, calledOff: () => {}, failed });
  const startedMs = clock.nowMs;
  table.expectNews(() => clock.nowMs);
  const pauser = createIdlePauser({
    client: undefined as never,
    writer,
    table,
    activity,
    idleTimeoutMsOf: ({ sandbox }) => sandbox.idleTimeoutMs ?? 0,
    ledger: { record: () => () => {} },
    uses: { saw: () => {} },
    cpuFloorMillicoresOf: () => 0,
    transitions: { paused: () => {} },
    reportIntervalMs,
    knownSinceMs: () => startedMs,
    isLeader: () => leads && !watcher.closed,
    podSnapshots: async () => false,
    paused: () => {},
    failed,
  });
  return {
    name,
    table,
    waker,
    lines,
    activity,
    pauser,
    writer,
    asleep: createAsleepAnswers(),
    alone,
    leads,
    isClosed: () => watcher.closed,
    route: () => table.find('default', 'box'),
    close: () => {
      watcher.closed = true;
      stopKeeping();
      waker.close();
    },
  };
}

/** Routers in front of one sandbox of a fake cluster. With one, it is an engine's: it waits a moment before a checkpoint. */
function createWorld(routerCount: number) {
  const clock: Clock = { nowMs: 1_000_000 };
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: clock.nowMs });
  mock.method(performance, 'now', () => clock.nowMs);
  const alone = routerCount === 1;
  const cluster = createFakeCluster({ clockMs: () => clock.nowMs, drainMs: alone ? 100 : 0, snapshots: alone });
  const routers = Array.from({ length: routerCount }, (_, index) =>
    createRouter(cluster, clock, `router-${index}`, index === 0, alone),
  );
  const asked: Asked[] = [];
  const faults = { outage: false, restore: false, snapshot: false };

  async function advance(ms: number): Promise<void> {
    const endMs = clock.nowMs + ms;
    while (clock.nowMs < endMs) {
      const busy = !cluster.isQuiet() || asked.some(({ outcome }) => outcome === undefined);
      const stepMs = Math.min(busy ? 10 : 50, endMs - clock.nowMs);
      const second = Math.floor(clock.nowMs / 1000);
      clock.nowMs += stepMs;
      mock.timers.tick(stepMs);
      cluster.settle();
      await flush();
      if (Math.floor(clock.nowMs / 1000) !== second)
        for (const { pauser, isClosed } of routers) if (!isClosed()) pauser.tick();
      await flush();
    }
  }

  const intentOf = ({ kind }: Asked) => (kind === 'head' ? 'head' : 'use');

  /** What the proxy does with a request, from the table to the answer. */
  async function serve(request: Asked, route: Route, serviceMs: number): Promise<string> {
    const { router, leaving } = request;
    const { pod } = route;
    let outcome =
      pod !== undefined && router.table.isRoutable(route) && !isLeaving(route, intentOf(request))
        ? await forward(request, route, pod, serviceMs)
        : NOT_DIALLED;
    for (let rejoins = 0; outcome === NOT_DIALLED && rejoins <= MOST_REJOINS; rejoins++) {
      const arrival = await wait(request, route);
      if (leaving.signal.aborted) return 'left';
      outcome = await forward(request, route, arrival.pod, serviceMs);
    }
    return outcome;
  }

  function wait({ router, kind, timeoutMs, arrivedMs, leaving }: Asked, route: Route) {
    return approach(router.waker, router.asleep, {
      route,
      port: 8888,
      method: 'GET',
      path: '/',
      intent: kind === 'head' ? 'head' : 'use',
      preflight: { path: '/', origin: '', method: '', headers: '' },
      preferences: { respondAsync: false, waitMs: timeoutMs },
      navigates: false,
      callerTimeoutMs: undefined,
      spentMs: clock.nowMs - arrivedMs,
      bytes: 1000,
      signal: leaving.signal,
      mayWake: kind !== 'noWake',
      held: () => () => {},
    });
  }

  /** On a connection that sleeps with its sandbox, where it can. */
  async function forward(request: Asked, route: Route, pod: PodRecord, serviceMs: number): Promise<string> {
    const { router } = request;
    const { activity, table, lines } = router;
    const use = intentOf(request) === 'use';
    if (use) activity.begin(route, clock.nowMs);
    else activity.beginQuiet(route);
    try {
      for (let dials = 0; ; dials++) {
        const outcome = await exchange(lines, request, route, pod, serviceMs);
        if (outcome !== NOT_DIALLED) return outcome;
        if (route.pod?.uid !== pod.uid || !table.isRoutable(route)) return NOT_DIALLED;
        const retryMs = DIAL_RETRY_MS[dials];
        if (retryMs === undefined) return 'upstream_refused';
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    } finally {
      if (use) activity.end(route, clock.nowMs);
      else activity.endQuiet(route);
    }
  }

  async function exchange(
    lines: Router['lines'],
    request: Asked,
    route: Route,
    pod: PodRecord,
    serviceMs: number,
  ): Promise<string> {
    const cutting = Promise.withResolvers<'cut'>();
    const line: Line = {
      count: () => 1,
      hush: () => {},
      sleep: (how) => how === 'kept',
      goOn: () => {},
      cut: () => cutting.resolve('cut'),
    };
    const end = lines.add(line, route, pod);
    try {
      if ((await Promise.race([cutting.promise, cluster.connect(pod.address)])) !== true) return NOT_DIALLED;
      if (request.outcome !== undefined) return request.outcome;
      request.forwarded++;
      request.forwardedMs ??= clock.nowMs;
      const answered = cluster.work(request.id, intentOf(request) === 'use', serviceMs);
      const how = await Promise.race([cutting.promise, answered]);
      if (how === 'cut') cluster.drop(request.id);
      return how === 'ok' ? 'ok' : 'upstream_reset';
    } finally {
      end();
    }
  }

  function ask(router: Router, kind: Asked['kind'], timeoutMs: number, serviceMs: number): void {
    const route = router.route();
    if (route === undefined || router.isClosed()) return;
    const leaving = new AbortController();
    const request: Asked = { id: asked.length, kind, arrivedMs: clock.nowMs, timeoutMs, router, leaving, forwarded: 0 };
    asked.push(request);
    serve(request, route, serviceMs)
      .catch((error) => (error instanceof ProblemError ? error.code : `threw ${error}`))
      .then((outcome) => {
        // Its router has ended, and its client has heard of that.
        request.outcome ??= leaving.signal.aborted ? 'left' : outcome;
        request.endedMs ??= clock.nowMs;
      });
  }

  async function apply(step: Step): Promise<void> {
    const router = 'router' in step ? (routers[step.router % routers.length] as Router) : undefined;
    switch (step.do) {
      case 'request':
        ask(router as Router, step.kind, step.timeoutMs, step.serviceMs);
        break;
      case 'leave': {
        const waiting = asked.filter(({ outcome, forwarded }) => outcome === undefined && forwarded === 0);
        waiting[step.choice % Math.max(1, waiting.length)]?.leaving.abort();
        break;
      }
      case 'apiPause': {
        const route = router?.route();
        if (router === undefined || route === undefined || !route.sandbox.running) break;
        pauseInTwoPhases(route, {
          writer: router.writer,
          drainMs: router.alone ? 0 : 500,
          inFlightMs: 10_000,
          fenced: false,
          stillWanted: async () => true,
        }).catch(() => {});
        break;
      }
      case 'kubectl':
        // On a cluster such a pause ends the pod at once, whoever uses it.
        if (alone || step.running) cluster.kubectl(step.running);
        break;
      case 'step':
        cluster.step(step.choice);
        break;
      case 'advance':
        await advance(step.ms);
        break;
      case 'apiDown':
        faults.outage = true;
        cluster.goDown(step.ms, step.entirely);
        break;
      case 'fail':
        faults[step.what] = true;
        cluster.fail(step.what);
        break;
      case 'restart':
        restart(step.router % routers.length);
        break;
      default:
        step satisfies never;
    }
    await flush();
  }

  function restart(index: number): void {
    const old = routers[index] as Router;
    old.close();
    for (const request of asked)
      if (request.router === old && request.outcome === undefined) {
        request.outcome = 'broken';
        request.endedMs = clock.nowMs;
        // Its connection to the pod ends with it.
        cluster.drop(request.id);
      }
    routers[index] = createRouter(cluster, clock, `${old.name}'`, old.leads, alone);
  }

  return { clock, cluster, routers, asked, faults, advance, apply, close: () => mock.reset() };
}

type World = ReturnType<typeof createWorld>;

/** What a request may come to. */
function allowed(
  { id, kind, timeoutMs, outcome, arrivedMs, endedMs = 0, forwardedMs = arrivedMs }: Asked,
  { faults, cluster }: World,
): boolean {
  if (outcome === 'broken' || outcome === 'left') return true;
  if (outcome === 'ok') return forwardedMs - arrivedMs <= timeoutMs + LATE_MS;
  if (outcome === 'wake_failed') return faults.restore;
  if (outcome === 'upstream_reset') return kind === 'head' || cluster.caught.has(id);
  if (kind === 'head' && (outcome === 'wake_disabled' || outcome === 'waking')) return true;
  if (kind === 'noWake' && (outcome === 'wake_disabled' || outcome === 'waking')) return true;
  if (outcome !== 'waking') return false;
  // In its own time, or told at once that this can not be kept.
  const inTime = endedMs - arrivedMs <= timeoutMs + LATE_MS;
  return inTime && (timeoutMs < WAKE_MS || faults.outage || faults.restore || faults.snapshot);
}

async function check(steps: Step[], routerCount: number): Promise<void> {
  const world = createWorld(routerCount);
  const { cluster, routers, asked, clock } = world;
  try {
    await world.advance(500);
    for (const step of steps) await world.apply(step);
    for (let turn = 0; turn < 300 && asked.some(({ outcome }) => outcome === undefined); turn++)
      await world.advance(100);
    // A quiet request that was caught in a pause wakes nobody: it sleeps until its client leaves.
    for (const { id, kind, outcome } of asked) if (kind === 'head' && outcome === undefined) cluster.drop(id);
    await world.advance(100);
    for (const request of asked) {
      const what = `${request.kind} request ${request.id}: ${request.outcome} after ${(request.endedMs ?? clock.nowMs) - request.arrivedMs} ms of ${request.timeoutMs}`;
      assert.ok(request.outcome !== undefined, `lost: ${what}`);
      assert.ok(allowed(request, world), what);
      assert.ok(request.forwarded <= 1, `sent twice: ${what}`);
    }
    assert.deepEqual(cluster.violations, []);
    // Nobody calls any more: it goes to sleep (after a pause that failed, a minute later), and nothing is left of all that.
    await world.advance(world.faults.outage ? 80_000 : 15_000);
    for (const { waker, route, isClosed } of routers) {
      if (isClosed()) continue;
      assert.deepEqual([waker.heldCount(), waker.heldBytes(), waker.queuedCount()], [0, 0, 0]);
      const { pausing, activity, sandbox } = route() as Route;
      assert.deepEqual([pausing, activity.inFlight, activity.quiet], [undefined, 0, 0]);
      assert.equal(sandbox.resourceVersion, cluster.sandbox().resourceVersion, 'the table follows');
    }
    assert.equal(cluster.sandbox().draining, '', 'nobody is about to pause it for ever');
    if (!world.faults.snapshot) assert.ok(cluster.sandbox().suspended, 'it sleeps in the end');
    assert.deepEqual(cluster.violations, []);
  } finally {
    world.close();
  }
}

const router = fc.nat(1);
const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('request' as const),
        router,
        kind: fc.constantFrom('use', 'use', 'use', 'head', 'noWake'),
        timeoutMs: fc.constantFrom(300, 5000, 20_000),
        serviceMs: fc.constantFrom(0, 20, 200, 3000),
      }),
    },
    { weight: 8, arbitrary: fc.record({ do: fc.constant('step' as const), choice: fc.nat(50) }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.constantFrom(10, 30, 100, 400) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.constantFrom(2000, 4000, 7000) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('apiPause' as const), router }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('kubectl' as const), running: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), choice: fc.nat(9) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('apiDown' as const),
        ms: fc.constantFrom(50, 500, 2000),
        entirely: fc.boolean(),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('fail' as const), what: fc.constantFrom('snapshot', 'restore') }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), router }) },
  ) as fc.Arbitrary<Step>,
  { minLength: 5, maxLength: 40 },
);

describe('requests, pauses, wakes, failures and restarts in any order', { timeout: 3_600_000 }, () => {
  for (const [what, routerCount] of [
    ['one router and its engine', 1],
    ['two routers of a cluster', 2],
  ] as const)
    it(`lose no request, pause none away, wake once and keep deadlines: ${what}, ${RUNS / 2} times`, async () => {
      await fc.assert(
        fc.asyncProperty(steps, (sequence) => check(sequence, routerCount)),
        { numRuns: RUNS / 2 },
      );
    });
});
