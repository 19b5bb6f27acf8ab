import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  LEASES,
  type Lease,
  POD_SNAPSHOT_MANUAL_TRIGGERS,
  type PodSnapshotManualTrigger,
  SANDBOXES,
  type Sandbox,
} from '../../src/kubernetes/index.ts';
import { rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { steadyLoad } from '../support/steady-load.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, conditionOf, createReady, echoSandbox, routerReady } from './world.ts';

describe('a router that is killed between the trigger of a snapshot and the pause', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 200_000,
}, () => {
  let world: ClusterWorld;
  const routers: ServeProcess[] = [];
  const flags = ['--lease-namespace', 'default', '--activity-interval', '1s', '--shutdown-delay', '0s'];

  before(async () => {
    world = await clusterWorld();
  });
  after(async () => {
    for (const router of routers) await router.stop('SIGKILL');
    await world?.close();
  });

  const start = async () => {
    const router = await world.anotherRouter(flags);
    routers.push(router);
    await routerReady(router);
    return router;
  };
  const get = (path: string, router: ServeProcess) =>
    rawRequest(router.url, { path, headers: { authorization: `Bearer ${world.token}` } });
  const sandbox = (name: string) => world.client.get<Sandbox>(SANDBOXES, { namespace: 'default', name });
  const holder = async () =>
    (
      await world.client
        .get<Lease>(LEASES, { namespace: 'default', name: 'sandbox-router-idle' })
        .catch(() => undefined)
    )?.spec.holderIdentity ?? '';
  const triggersOf = async (pod: string) =>
    (await world.client.list<PodSnapshotManualTrigger>(POD_SNAPSHOT_MANUAL_TRIGGERS)).items.filter(
      ({ spec }) => spec.targetPod === pod,
    );
  /** The platform's part: here it takes its time. */
  const complete = async ({ metadata }: PodSnapshotManualTrigger) => {
    const lastTransitionTime = new Date().toISOString().replace(/\.\d+/, '');
    const condition = { type: 'Triggered', status: 'True', reason: 'Complete', message: 'done', lastTransitionTime };
    await world.client.patch(
      POD_SNAPSHOT_MANUAL_TRIGGERS,
      { namespace: 'default', name: metadata.name },
      { status: { conditions: [condition], snapshotCreated: { name: `snapshot-of-${metadata.name}` } } },
      { type: 'merge', subresource: 'status' },
    );
  };
  const create = (name: string) =>
    createReady(
      world.client,
      echoSandbox(name, { metadata: { annotations: { 'sandbox-router/idle-timeout': '3s' } } }),
    );

  it('leaves no pause without a finished snapshot, no second trigger, and no request lost', async (test) => {
    // The first to stand is the first to lead.
    const leader = await start();
    const first = await until('it leads', async () => (await holder()) || undefined);
    const other = await start();
    await Promise.all(['forgotten', 'resumed', 'busy'].map(create));
    await until('it is routed', async () => (await get('/busy/', other)).status === 200);
    const load = steadyLoad(() => get('/busy/', other));
    test.after(load.stop);
    const orphans = await until('both have a trigger', async () => {
      const found = [...(await triggersOf('forgotten')), ...(await triggersOf('resumed'))];
      return found.length === 2 ? found.map(({ metadata }) => metadata.name) : undefined;
    });
    await leader.stop('SIGKILL');
    // One of the two is used again before anybody leads: its pause is off.
    assert.equal((await get('/resumed/', other)).status, 200);
    const resumedLoad = steadyLoad(() => get('/resumed/', other), 1);
    test.after(resumedLoad.stop);

    await until('another leads', async () => !['', first].includes(await holder()), 60_000);
    const [trigger] = await until('it has a trigger of its own', async () => {
      const found = await triggersOf('forgotten');
      return found.length === 1 && !orphans.includes(found[0]?.metadata.name ?? '') ? found : undefined;
    });
    await delay(2000);
    assert.equal((await sandbox('forgotten')).spec.operatingMode, 'Running', 'no pause without a finished snapshot');
    assert.equal((await triggersOf('forgotten')).length, 1, 'one trigger');
    await complete(trigger as PodSnapshotManualTrigger);
    await conditionOf(world.client, { name: 'forgotten' }, 'Suspended');
    assert.equal((await triggersOf('forgotten')).length, 1, 'the one of the latest snapshot stays');

    assert.equal((await sandbox('resumed')).metadata.generation, 1, 'what is used again was not paused');
    assert.deepEqual((await resumedLoad.stop()).statuses, [200]);
    const [afterwards] = await until('it is idle again', async () => {
      const found = await triggersOf('resumed');
      return found.some(({ metadata }) => !orphans.includes(metadata.name)) ? found : undefined;
    });
    assert.equal((await triggersOf('resumed')).length, 1, 'what was left behind is taken away');
    await complete(afterwards as PodSnapshotManualTrigger);
    await conditionOf(world.client, { name: 'resumed' }, 'Suspended');

    assert.deepEqual((await load.stop()).statuses, [200]);
    assert.equal((await sandbox('busy')).metadata.generation, 1);
    for (const name of ['forgotten', 'resumed']) assert.equal((await get(`/${name}/`, other)).status, 200);
  });
});
