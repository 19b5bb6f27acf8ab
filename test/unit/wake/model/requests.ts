import type { Line } from '../../../../src/router/forward/lines.ts';
import { ProblemError } from '../../../../src/router/problem.ts';
import type { PodRecord, Route } from '../../../../src/router/table/index.ts';
import { approach, isLeaving } from '../../../../src/router/wake/index.ts';
import type { FakeCluster } from './fake-cluster.ts';
import type { Clock, Router } from './router.ts';

/** As forwarding does it: pauses before a refused dial is tried again, and how often a request joins another wake. */
const DIAL_RETRY_MS = [100, 200, 400];
const MOST_REJOINS = 5;
const NOT_DIALLED = 'not_dialled';

/** A request, and what became of it. */
export interface Asked {
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

/** Requests as the proxy takes them from its table to their answer, on connections that sleep with their sandbox where they can. */
export function createRequests(cluster: FakeCluster, clock: Clock) {
  const asked: Asked[] = [];

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
      joined: () => {},
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
      const answered = cluster.processes.work(request.id, intentOf(request) === 'use', serviceMs);
      const how = await Promise.race([cutting.promise, answered]);
      if (how === 'cut') cluster.processes.drop(request.id);
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

  return {
    asked,
    ask,
    /** A client that waits leaves. */
    leave: (choice: number) => {
      const waiting = asked.filter(({ outcome, forwarded }) => outcome === undefined && forwarded === 0);
      waiting[choice % Math.max(1, waiting.length)]?.leaving.abort();
    },
    /** Their router ends, and their connections with it. */
    breakOf: (router: Router) => {
      for (const request of asked) {
        if (request.router !== router || request.outcome !== undefined) continue;
        request.outcome = 'broken';
        request.endedMs = clock.nowMs;
        cluster.processes.drop(request.id);
      }
    },
  };
}
