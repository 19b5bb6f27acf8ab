import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { SANDBOXES, type Sandbox } from '../../src/kubernetes/index.ts';
import { rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { steadyLoad } from '../support/steady-load.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, conditionOf, createReady, echoSandbox, pause, routerReady } from './world.ts';

/** Processes whose parent is this one. */
function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => {
      try {
        return new RegExp(`^PPid:\\s+${pid}$`, 'm').test(readFileSync(`/proc/${candidate}/status`, 'utf8'));
      } catch {
        return false;
      }
    });
}

describe('a router with three workers', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 200_000,
}, () => {
  let world: ClusterWorld;
  let router: ServeProcess;

  before(async () => {
    world = await clusterWorld();
    router = await world.anotherRouter([
      ...['--workers', '3', '--lease-namespace', 'default', '--shutdown-delay', '1s', '--activity-interval', '1s'],
      ...['--pod-snapshots', 'off'],
    ]);
    await routerReady(router);
    await allListen();
  });
  after(async () => {
    await router?.stop('SIGKILL');
    await world?.close();
  });

  const readiness = async () =>
    (await (await fetch(`${router.adminUrl}/readyz`)).json()) as {
      ready: boolean;
      workers: { wanted: number; listening: number };
    };
  const allListen = () => until('all workers listen', async () => (await readiness()).workers.listening === 3, 30_000);
  const get = (path: string) =>
    rawRequest(router.url, { path, headers: { authorization: `Bearer ${world.token}`, connection: 'close' } });
  const metric = async (pattern: RegExp) =>
    Number(pattern.exec(await (await fetch(`${router.adminUrl}/metrics`)).text())?.[1] ?? 0);

  it('answers as one: 300 requests of a paused sandbox make one resume, and the metrics add up', async () => {
    await createReady(world.client, echoSandbox('shared'));
    await until('it is routed', async () => (await get('/shared/')).status === 200);
    await pause(world.client, 'shared');
    await until('the workers know that it is paused', async () => {
      const states = await Promise.all(Array.from({ length: 6 }, () => get('/-/v1/sandboxes/shared')));
      return states.every(({ body }) => (JSON.parse(body) as { state: string }).state === 'paused');
    });
    const key = { namespace: 'default', name: 'shared' };
    const generation = (await world.client.get<Sandbox>(SANDBOXES, key)).metadata.generation ?? 0;
    const before_ = await metric(/^sandbox_router_requests_total\{code="200"\} (\d+)/m);
    const answers = await Promise.all(Array.from({ length: 300 }, () => get('/shared/')));
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    assert.equal((await world.client.get<Sandbox>(SANDBOXES, key)).metadata.generation, generation + 1);
    assert.equal(await metric(/^sandbox_router_requests_total\{code="200"\} (\d+)/m), before_ + 300);
    assert.equal(await metric(/^sandbox_router_table_sandboxes (\d+)/m), 1, 'what all know alike is not added up');
  });

  it('replaces a worker that dies; the others serve on, and the new one knows everything', async (test) => {
    const load = steadyLoad(() => get('/shared/'));
    test.after(load.stop);
    const [victim] = childrenOf(router.pid);
    assert.ok(victim !== undefined);
    process.kill(victim, 'SIGKILL');
    await until('one is missing', async () => (await readiness()).workers.listening < 3);
    assert.equal((await readiness()).ready, true);
    await allListen();
    const { statuses } = await load.stop();
    // A connection of the dead worker ends without an answer; nothing else is lost.
    assert.ok(
      statuses.every((status) => status === 200 || status === 0),
      statuses.join(),
    );
    const answers = await Promise.all(Array.from({ length: 30 }, () => get('/shared/')));
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
  });

  it('does not pause what a worker answers a request of, and pauses it once idle', async () => {
    await createReady(
      world.client,
      echoSandbox('busy', { metadata: { annotations: { 'sandbox-router/idle-timeout': '2s' } } }),
    );
    await until('it is routed', async () => (await get('/busy/')).status === 200);
    assert.equal((await get('/busy/sleep/6000')).status, 200);
    const { metadata } = await world.client.get<Sandbox>(SANDBOXES, { namespace: 'default', name: 'busy' });
    assert.equal(metadata.generation, 1);
    await conditionOf(world.client, { name: 'busy' }, 'Suspended');
  });

  it('ends without losing a request, and leaves no process behind', async (test) => {
    const children = childrenOf(router.pid);
    assert.equal(children.length, 3);
    const slow = get('/shared/sleep/3000');
    const load = steadyLoad(() => get('/shared/'));
    test.after(load.stop);
    await delay(500);
    const ended = router.stop('SIGTERM');
    await until('it is not ready', async () => (await readiness().catch(() => ({ ready: false }))).ready === false);
    const { statuses } = await load.stop();
    assert.deepEqual(statuses, [200]);
    assert.equal((await slow).status, 200);
    assert.equal(await ended, 0);
    for (const pid of children) assert.throws(() => process.kill(pid, 0), /ESRCH/);
  });
});
