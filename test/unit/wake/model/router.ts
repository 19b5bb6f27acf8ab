import { createLines } from '../../../../src/router/forward/lines.ts';
import { createRoutingTable } from '../../../../src/router/table/index.ts';
import {
  createActivityTracker,
  createAsleepAnswers,
  createIdlePauser,
  createWaker,
  keepRunningWhileUsed,
} from '../../../../src/router/wake/index.ts';
import type { FakeCluster } from './fake-cluster.ts';

/** The hold timeout of the model. */
const HOLD_MS = 20_000;

/** The clock of everything: timers of the code under test, its monotonic clock, and the cluster's delays. */
export interface Clock {
  nowMs: number;
}

/** A router of {@link createRouter}. */
export type Router = ReturnType<typeof createRouter>;

/** The parts of a router that wake and pause, over its own watch of the cluster. */
export function createRouter(cluster: FakeCluster, clock: Clock, name: string, leads: boolean, alone: boolean) {
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
