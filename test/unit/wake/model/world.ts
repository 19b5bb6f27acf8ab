import { mock } from 'node:test';
import { pauseInTwoPhases } from '../../../../src/router/wake/index.ts';
import { createFakeCluster } from './fake-cluster.ts';
import { type Asked, createRequests } from './requests.ts';
import { type Clock, createRouter, type Router } from './router.ts';
import { createTunnels } from './tunnels.ts';

const flush = () => new Promise<void>((resolve) => setImmediate(resolve));

/** What may happen next. */
export type Step =
  | { do: 'request'; router: number; kind: Asked['kind']; timeoutMs: number; serviceMs: number }
  | { do: 'leave'; choice: number }
  | { do: 'tunnel'; router: number }
  | { do: 'say'; choice: number }
  | { do: 'apiPause'; router: number }
  | { do: 'kubectl'; running: boolean }
  | { do: 'step'; choice: number }
  | { do: 'advance'; ms: number }
  | { do: 'apiDown'; ms: number; entirely: boolean }
  | { do: 'fail'; what: 'snapshot' | 'restore' }
  | { do: 'restart'; router: number };

/** Routers in front of one sandbox of a fake cluster. With one, it is an engine's: it waits a moment before a checkpoint. */
export function createWorld(routerCount: number) {
  const clock: Clock = { nowMs: 1_000_000 };
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: clock.nowMs });
  mock.method(performance, 'now', () => clock.nowMs);
  const alone = routerCount === 1;
  const cluster = createFakeCluster({ clockMs: () => clock.nowMs, drainMs: alone ? 100 : 0, snapshots: alone });
  const routers = Array.from({ length: routerCount }, (_, index) =>
    createRouter(cluster, clock, `router-${index}`, index === 0, alone),
  );
  const requests = createRequests(cluster, clock);
  const tunnels = createTunnels(cluster, clock);
  const faults = { outage: false, restore: false, snapshot: false };

  async function advance(ms: number): Promise<void> {
    const endMs = clock.nowMs + ms;
    while (clock.nowMs < endMs) {
      const busy = !cluster.isQuiet() || requests.asked.some(({ outcome }) => outcome === undefined);
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

  async function apply(step: Step): Promise<void> {
    const router = 'router' in step ? (routers[step.router % routers.length] as Router) : undefined;
    switch (step.do) {
      case 'request':
        requests.ask(router as Router, step.kind, step.timeoutMs, step.serviceMs);
        break;
      case 'leave':
        requests.leave(step.choice);
        break;
      case 'tunnel':
        tunnels.open(router as Router);
        break;
      case 'say':
        tunnels.say(step.choice);
        break;
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
    requests.breakOf(old);
    tunnels.breakOf(old);
    routers[index] = createRouter(cluster, clock, `${old.name}'`, old.leads, alone);
  }

  return { clock, cluster, routers, requests, tunnels, faults, advance, apply, close: () => mock.reset() };
}

/** A world of {@link createWorld}. */
export type World = ReturnType<typeof createWorld>;
