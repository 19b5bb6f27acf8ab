import type { Route, UseOrigin } from '../../table/index.ts';

/** What uses a sandbox. It is described only where it is the first to in an interval. */
export interface Use {
  describeUse(): UseOrigin;
}

/**
 * Notes which sandboxes are used. Requests that wait for their answer count for as long as they do; streams and tunnels count when they move
 * (design section 6). Called on every request: no allocation, no clock but the one that the caller has read already.
 */
export interface ActivityTracker {
  begin(route: Route, nowMs: number, use?: Use): void;
  end(route: Route, nowMs: number): void;
  /** A request that is no use: nothing is paused under it, and once it ended it was never there. */
  beginQuiet(route: Route): void;
  endQuiet(route: Route): void;
  touch(route: Route, nowMs: number, use?: Use): void;
  /** Routes used since the last call, or in use; each once. Those in use will be in the next list again. */
  take(nowMs: number): Route[];
}

/** A tracker without any activity yet. Times are of the monotonic clock. `saw` is told of each sandbox that is used, once between two calls of `take`. */
export function createActivityTracker(saw: (route: Route, use: UseOrigin) => void = () => {}): ActivityTracker {
  let used: Route[] = [];

  function list(route: Route, use: Use | undefined): void {
    const { activity } = route;
    activity.listed = true;
    used.push(route);
    if (use !== undefined) activity.usedBy = use.describeUse();
    if (activity.usedBy !== undefined) saw(route, activity.usedBy);
  }

  function touch(route: Route, nowMs: number, use?: Use): void {
    const { activity } = route;
    activity.lastMs = nowMs;
    if (!activity.listed) list(route, use);
  }

  return {
    touch,
    begin: (route, nowMs, use) => {
      route.activity.inFlight++;
      touch(route, nowMs, use);
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
