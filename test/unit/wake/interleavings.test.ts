import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Route } from '../../../src/router/table/index.ts';
import type { Asked } from './model/requests.ts';
import type { Counting } from './model/tunnels.ts';
import { createWorld, type Step, type World } from './model/world.ts';

/** 10,000 in a full run: INTERLEAVINGS=10000 npm test -- unit/wake/interleavings */
const RUNS = Number(process.env.INTERLEAVINGS ?? 500);
/** A deadline may be missed by so much. */
const LATE_MS = 100;
/** What a wake takes at most here, with the delays of the fake cluster and a pause that is completed before it. */
const WAKE_MS = 1500;

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

/** Everything that was said came, once and in its order; what was lost was on a tunnel that its client was told to be closed. */
function checkTunnel({ tunnel, sent, received, echoed, broken }: Counting, alone: boolean, { faults }: World): void {
  const inOrder = (numbers: number[]) =>
    assert.deepEqual(
      numbers,
      numbers.map((_, index) => index + 1),
    );
  inOrder(received);
  inOrder(echoed);
  if (broken) return;
  if (!tunnel.client.destroyed) assert.deepEqual([received.length, echoed.length], [sent, sent], 'said, and not heard');
  else assert.ok(!alone || faults.outage || faults.restore || faults.snapshot, 'a tunnel was closed');
}

async function check(steps: Step[], routerCount: number): Promise<void> {
  const world = createWorld(routerCount);
  const { cluster, routers, requests, tunnels, clock } = world;
  const { asked } = requests;
  try {
    await world.advance(500);
    for (const step of steps) await world.apply(step);
    const isOver = () => asked.every(({ outcome }) => outcome !== undefined) && tunnels.areQuiet();
    for (let turn = 0; turn < 300 && !isOver(); turn++) await world.advance(100);
    // A quiet request that was caught in a pause wakes nobody: it sleeps until its client leaves.
    for (const { id, kind, outcome } of asked) if (kind === 'head' && outcome === undefined) cluster.processes.drop(id);
    await world.advance(100);
    for (const request of asked) {
      const what = `${request.kind} request ${request.id}: ${request.outcome} after ${(request.endedMs ?? clock.nowMs) - request.arrivedMs} ms of ${request.timeoutMs}`;
      assert.ok(request.outcome !== undefined, `lost: ${what}`);
      assert.ok(allowed(request, world), what);
      assert.ok(request.forwarded <= 1, `sent twice: ${what}`);
    }
    for (const tunnel of tunnels.all) checkTunnel(tunnel, routerCount === 1, world);
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
    { weight: 2, arbitrary: fc.record({ do: fc.constant('tunnel' as const), router }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('say' as const), choice: fc.nat(5) }) },
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
