import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { SANDBOXES, type Sandbox } from '../../src/kubernetes/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { steadyLoad } from '../support/steady-load.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, conditionOf, createReady, echoSandbox, pause, routerReady } from './world.ts';

const HOUR_MS = 3_600_000;

/** A router whose wall clock a test can move. */
interface MovableRouter extends ServeProcess {
  moveClock(byMs: number): Promise<void>;
}

describe('two routers whose clocks are moved', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 300_000,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-clock-'));
  let world: ClusterWorld;
  let routers: MovableRouter[] = [];

  before(async () => {
    world = await clusterWorld();
    routers = await Promise.all(['first', 'second'].map(movableRouter));
    await Promise.all(routers.map(routerReady));
  });
  after(async () => {
    for (const router of routers) await router.stop('SIGKILL');
    await world?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  async function movableRouter(name: string): Promise<MovableRouter> {
    const file = join(directory, name);
    const flags = ['--lease-namespace', 'default', '--activity-interval', '1s', '--pod-snapshots', 'off'];
    const preload = ['--import', join(projectRoot, 'test/support/movable-clock.ts')];
    const router = await world.anotherRouter(flags, undefined, {
      options: preload,
      environment: { MOVED_CLOCK: file },
    });
    return {
      ...router,
      moveClock: async (byMs) => {
        writeFileSync(file, String(byMs));
        const said = `clock moved by ${byMs} ms`;
        const before_ = router.output().split(said).length;
        router.signal('SIGUSR2');
        await until('the clock is moved', () => router.output().split(said).length > before_);
      },
    };
  }

  const get = (path: string, router: ServeProcess | undefined) =>
    rawRequest(router?.url ?? '', { path, headers: { authorization: `Bearer ${world.token}` } });
  const sandbox = (name: string) => world.client.get<Sandbox>(SANDBOXES, { namespace: 'default', name });
  const create = (name: string) =>
    createReady(
      world.client,
      echoSandbox(name, { metadata: { annotations: { 'sandbox-router/idle-timeout': '4s' } } }),
    );

  const cases: [what: string, firstMs: number, secondMs: number][] = [
    ['the first an hour on', HOUR_MS, 0],
    ['the second an hour on', 0, HOUR_MS],
    ['the first an hour back', -HOUR_MS, 0],
    ['the second an hour back', 0, -HOUR_MS],
    ['both apart', HOUR_MS, -HOUR_MS],
  ];
  for (const [index, [what, firstMs, secondMs]] of cases.entries())
    it(`${what}: what is used stays, what is idle is paused, and what is paused is woken`, async (test) => {
      const [used, idle, asleep] = [`used-${index}`, `idle-${index}`, `asleep-${index}`];
      await Promise.all([used, idle, asleep].map(create));
      await pause(world.client, asleep);
      // Used through one router alone: the other, which may be the one that pauses, has only its reports. Both take their turn over the cases.
      const user = routers[index % 2];
      await until('it is routed', async () => (await get(`/${used}/`, user)).status === 200);
      const load = steadyLoad(() => get(`/${used}/`, user));
      test.after(load.stop);
      await delay(1500);
      await Promise.all([routers[0]?.moveClock(firstMs), routers[1]?.moveClock(secondMs)]);
      for (const router of routers) assert.equal((await get(`/${asleep}/`, router)).status, 200);
      await conditionOf(world.client, { name: idle }, 'Suspended');
      await delay(6000);
      assert.equal((await sandbox(used)).metadata.generation, 1, 'never paused');
      assert.deepEqual((await load.stop()).statuses, [200]);
      for (const router of routers) assert.equal((await fetch(`${router.adminUrl}/readyz`)).status, 200);
      assert.equal((await get(`/${idle}/`, user)).status, 200);
    });
});
