import type { Route } from '../../table/index.ts';

/**
 * Notes which sandboxes are used. Requests that wait for their answer count for as long as they do; streams and tunnels count when they move
 * (design section 6). Called on every request: no allocation, no clock but the one that the caller has read already.
 */
export interface ActivityTracker {
  begin(route: Route, nowMs: number): void;
  end(route: Route, nowMs: number): void;
  /** A request that is no use: nothing is paused under it, and once it ended it was never there. */
  beginQuiet(route: Route): void;
  endQuiet(route: Route): void;
  touch(route: Route, nowMs: number): void;
  /** Routes used since the last call, or in use; each once. Those in use will be in the next list again. */
  take(nowMs: number): Route[];
}

/** A tracker without any activity yet. Times are of the monotonic clock. */
export function createActivityTracker(): ActivityTracker {
  let used: Route[] = [];

  function touch(route: Route, nowMs: number): void {
    const { activity } = route;
    activity.lastMs = nowMs;
    if (activity.listed) return;
    activity.listed = true;
    used.push(route);
  }

  return {
    touch,
    begin: (route, nowMs) => {
      route.activity.inFlight++;
      touch(route, nowMs);
    },
    end: (route, nowMs) => {
      route.activity.inFlight--;
      touch(route, nowMs);
    },
    beginQuiet: (route) => {
      route.activity.inFlight++;
      route.activity.quiet++;
    },
    endQuiet: (route) => {
      route.activity.inFlight--;
      route.activity.quiet--;
    },
    take: (nowMs) => {
      const taken = used;
      used = [];
      for (const route of taken) {
        route.activity.listed = false;
        if (route.activity.inFlight > route.activity.quiet) touch(route, nowMs);
      }
      return taken;
    },
  };
}
