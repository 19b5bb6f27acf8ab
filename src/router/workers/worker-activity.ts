import type { Route, RoutingTable } from '../table/index.ts';
import type { ActivityTracker } from '../wake/index.ts';
import type { UsedSandbox } from './protocol.ts';

/** What a worker tells of its activity since it last did. */
export function usedSince(activity: ActivityTracker, nowMs: number): UsedSandbox[] {
  return activity.take(nowMs).map(({ sandbox, activity: { inFlight, lastMs } }) => ({
    namespace: sandbox.namespace,
    name: sandbox.name,
    uid: sandbox.uid,
    inFlight,
    agoMs: nowMs - lastMs,
  }));
}

/** The activity of one worker as the primary counts it. */
export interface WorkerActivity {
  take(used: readonly UsedSandbox[], nowMs: number): void;
  /** The worker has ended, and its requests with it. */
  end(nowMs: number): void;
}

/** Adds a worker's activity to that of all. */
export function createWorkerActivity(table: RoutingTable, activity: ActivityTracker): WorkerActivity {
  const inFlight = new Map<Route, number>();

  function set(route: Route, count: number, atMs: number): void {
    route.activity.inFlight += count - (inFlight.get(route) ?? 0);
    if (count === 0) inFlight.delete(route);
    else inFlight.set(route, count);
    activity.touch(route, Math.max(route.activity.lastMs, atMs));
  }

  return {
    take: (used, nowMs) => {
      for (const { namespace, name, uid, inFlight: count, agoMs } of used) {
        const route = table.find(namespace, name);
        if (route?.sandbox.uid === uid) set(route, count, nowMs - agoMs);
      }
    },
    end: (nowMs) => {
      for (const route of [...inFlight.keys()]) set(route, 0, nowMs);
    },
  };
}
