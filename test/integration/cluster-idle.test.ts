import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import WebSocket from 'ws';
import {
  LAST_ACTIVE_ANNOTATION,
  LEASES,
  type Lease,
  POD_SNAPSHOT_MANUAL_TRIGGERS,
  type PodSnapshotManualTrigger,
  SANDBOXES,
  type Sandbox,
} from '../../src/kubernetes/index.ts';
import { rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, conditionOf, createReady, echoSandbox, routerReady } from './world.ts';

describe('idle sandboxes on a real API server, behind three routers', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 200_000,
}, () => {
  let world: ClusterWorld;
  let routers: ServeProcess[] = [];
  const answering = new AbortController();
  /** How the platform's part of the test answers snapshot triggers. */
  let platform: 'complete' | 'fail' = 'complete';
  const triggered: string[] = [];
  const flags = ['--lease-namespace', 'default', '--activity-interval', '1s', '--shutdown-delay', '0s'];

  before(async () => {
    world = await clusterWorld();
    routers = await Promise.all([0, 1, 2].map(() => world.anotherRouter(flags)));
    await Promise.all(routers.map(routerReady));
    answerTriggers().catch(() => {});
  });
  after(async () => {
    answering.abort();
    for (const router of routers) await router.stop('SIGKILL');
    await world?.close();
  });

  /** Stands in for GKE's snapshot controller. */
  async function answerTriggers(): Promise<void> {
    const { resourceVersion } = await world.client.list(POD_SNAPSHOT_MANUAL_TRIGGERS);
    for await (const { type, object } of world.client.watch<PodSnapshotManualTrigger>(POD_SNAPSHOT_MANUAL_TRIGGERS, {
      resourceVersion,
      signal: answering.signal,
    })) {
      if (type !== 'ADDED') continue;
      triggered.push(object.spec.targetPod);
      const done = platform === 'complete';
      const condition = {
        type: 'Triggered',
        status: done ? 'True' : 'False',
        reason: done ? 'Complete' : 'Failed',
        message: 'as the test wants it',
        lastTransitionTime: new Date().toISOString().replace(/\.\d+/, ''),
      };
      await world.client.patch(
        POD_SNAPSHOT_MANUAL_TRIGGERS,
        { namespace: 'default', name: object.metadata.name },
        { status: { conditions: [condition], snapshotCreated: { name: `snapshot-of-${object.spec.targetPod}` } } },
        { type: 'merge', subresource: 'status' },
      );
    }
  }

  const get = (path: string, router = routers[0]) =>
    rawRequest(router?.url ?? '', { path, headers: { authorization: `Bearer ${world.token}` } });
  const sandbox = (name: string) => world.client.get<Sandbox>(SANDBOXES, { namespace: 'default', name });
  const create = (name: string, timeout: string) =>
    createReady(
      world.client,
      echoSandbox(name, { metadata: { annotations: { 'sandbox-router/idle-timeout': timeout } } }),
    );
  it('are snapshot, paused by one of them, and woken by the next request', async () => {
    await create('sleepy', '2s');
    assert.equal((await get('/sleepy/')).status, 200);
    await conditionOf(world.client, { name: 'sleepy' }, 'Suspended');
    assert.deepEqual(triggered, ['sleepy']);
    const paused = await sandbox('sleepy');
    assert.equal(paused.metadata.generation, 2);
    assert.ok(Date.parse(paused.metadata.annotations?.[LAST_ACTIVE_ANNOTATION] ?? '') > 0);
    assert.equal((await get('/sleepy/', routers[1])).status, 200);
  });

  it('stay while any router sees use, a long request or a socket that moves', async () => {
    await Promise.all(['visited', 'working', 'chatting', 'silent'].map((name) => create(name, '3s')));
    const headers = { authorization: `Bearer ${world.token}` };
    const open = (name: string, router: ServeProcess | undefined) =>
      new WebSocket(`${router?.url.replace('http', 'ws')}/${name}/`, { headers });
    const [chatting, silent] = [open('chatting', routers[1]), open('silent', routers[2])];
    await Promise.all([once(chatting, 'open'), once(silent, 'open')]);
    const working = get('/working/sleep/9000', routers[2]);
    for (let second = 0; second < 9; second++) {
      assert.equal((await get('/visited/', routers[second % 3])).status, 200);
      chatting.send('still here');
      await delay(1000);
    }
    for (const name of ['visited', 'working', 'chatting'])
      assert.equal((await sandbox(name)).metadata.generation, 1, `${name} was never paused`);
    assert.equal((await working).status, 200);
    assert.equal((await sandbox('silent')).spec.operatingMode, 'Suspended', 'an open socket alone is no use');
    chatting.terminate();
    silent.terminate();
  });

  it('stay when no snapshot of them can be taken', async () => {
    platform = 'fail';
    await create('precious', '2s');
    await until('a snapshot was tried', () => triggered.includes('precious'));
    await delay(2500);
    assert.equal((await sandbox('precious')).spec.operatingMode, 'Running');
    const counted = await Promise.all(
      routers.map(({ adminUrl }) => fetch(`${adminUrl}/metrics`).then((r) => r.text())),
    );
    assert.ok(counted.some((text) => /idle_pauses_total\{result="failed"\} [1-9]/.test(text)));
    const left = await world.client.list(POD_SNAPSHOT_MANUAL_TRIGGERS);
    assert.ok(
      !left.items.some(({ metadata }) => metadata.name.startsWith('precious')),
      'a spent trigger is taken away',
    );
    platform = 'complete';
  });

  it('never means never', async () => {
    await create('insomniac', 'never');
    await delay(3500);
    assert.equal((await sandbox('insomniac')).spec.operatingMode, 'Running');
  });

  it('are paused by another router when the one that did it ends', async () => {
    const lease = () => world.client.get<Lease>(LEASES, { namespace: 'default', name: 'sandbox-router-idle' });
    const holder = (await lease()).spec.holderIdentity;
    for (const router of routers.slice(0, 2)) await router.stop();
    const next = await until(
      'another holds the lease',
      async () => {
        const { holderIdentity } = (await lease()).spec;
        return holderIdentity !== '' && holderIdentity !== undefined ? holderIdentity : undefined;
      },
      40_000,
    );
    await create('last', '2s');
    await conditionOf(world.client, { name: 'last' }, 'Suspended');
    assert.ok(next !== '' && holder !== '');
  });
});
