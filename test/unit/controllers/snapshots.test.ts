import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  createSnapshotDirectory,
  type PodSnapshotIdentity,
  type SnapshotDirectory,
} from '../../../src/engine/controllers/pod/snapshots.ts';
import { chooseSnapshot } from '../../../src/engine/controllers/sandbox/choose-snapshot.ts';
import { createSnapshotPublisher, startSnapshotController } from '../../../src/engine/controllers/snapshot/index.ts';
import type { ContainerRuntime } from '../../../src/engine/runtime/index.ts';
import {
  NAME_HASH_LABEL,
  nameHash,
  POD_SNAPSHOT_MANUAL_TRIGGERS,
  POD_SNAPSHOT_POLICIES,
  POD_SNAPSHOTS,
  PODS,
  type Pod,
  type PodSnapshot,
  type PodSnapshotManualTrigger,
  RESTORE_ANNOTATION,
  SANDBOXES,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
  SNAPSHOT_NAME_ANNOTATION,
} from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';
import { type EngineWorld, engineWorld, removeWorld, sandboxOf } from './engine-world.ts';

const MACHINE = { runtime: 'runsc 1', cpuFeatures: ['sse'] };

/** The engine's API and the snapshot controller, over snapshots that are files with a word in them. */
describe('PodSnapshots', () => {
  let world: EngineWorld;
  let snapshots: SnapshotDirectory;
  let controller: ReturnType<typeof startSnapshotController> | undefined;
  let sandbox: Sandbox;
  let failures: unknown[];
  /** What taking a snapshot does. */
  let take: (trigger: string) => Promise<PodSnapshotIdentity>;
  const discarded = () => snapshots.list().length === 0;

  beforeEach(async () => {
    world = await engineWorld();
    failures = [];
    snapshots = createSnapshotDirectory(join(world.directory, 'snapshots'), {
      discardSnapshot: async (path: string) => rmSync(path, { recursive: true, force: true }),
    } as unknown as ContainerRuntime);
    sandbox = await world.create<Sandbox>(SANDBOXES, sandboxOf('box'));
    take = async (trigger) => await publish('data', identityOf('box-1', { cause: 'trigger', trigger }));
  });
  afterEach(async () => {
    await controller?.close();
    controller = undefined;
    await world.close();
    removeWorld(world);
    assert.deepEqual(failures, []);
  });

  function identityOf(name: string, extra: Partial<PodSnapshotIdentity> = {}): PodSnapshotIdentity {
    return {
      namespace: 'default',
      name,
      pod: 'box',
      labels: { [NAME_HASH_LABEL]: nameHash('box') },
      cause: 'suspend',
      takenAtMs: 1,
      owner: { apiVersion: sandbox.apiVersion, kind: 'Sandbox', name: 'box', uid: sandbox.metadata.uid ?? '' },
      ...extra,
    };
  }
  function writeData(id: string, podSnapshot: PodSnapshotIdentity, compatibility = MACHINE) {
    const record = { address: '', podSnapshot, compatibility: { ...compatibility, image: 'i', templateRevision: 'r' } };
    snapshots.writeRecord(id, record);
    mkdirSync(snapshots.pathOf(id), { recursive: true });
    writeFileSync(join(snapshots.pathOf(id), 'pages.img'), 'memory');
    return record;
  }
  async function publish(id: string, identity: PodSnapshotIdentity, compatibility = MACHINE) {
    const record = writeData(id, identity, compatibility);
    await createSnapshotPublisher(world.client, () => new Date())({ change: 'taken', id, record, sizeBytes: 6 });
    return identity;
  }
  async function start(): Promise<void> {
    controller = startSnapshotController({
      client: world.client,
      pods: { snapshots, takeSnapshot: (_pod, trigger) => take(trigger) },
      compatibility: MACHINE,
      failed: (what, error) => failures.push(`${what}: ${error}`),
    });
    await controller.synced;
  }
  const trigger = (name = 'now') =>
    world.create<PodSnapshotManualTrigger>(POD_SNAPSHOT_MANUAL_TRIGGERS, {
      metadata: { name },
      spec: { targetPod: 'box' },
    });
  const triggered = (name = 'now') =>
    until(`trigger ${name} is over`, async () => {
      const found = await world.get<PodSnapshotManualTrigger>(POD_SNAPSHOT_MANUAL_TRIGGERS, name);
      return found?.status?.conditions?.[0] === undefined ? undefined : found.status;
    });
  const readiness = (name: string, reason: string) =>
    until(`${name} says ${reason}`, async () => {
      const found = await world.get<PodSnapshot>(POD_SNAPSHOTS, name);
      return found?.status?.conditions?.find((condition) => condition.reason === reason);
    });

  it('a trigger is complete once its snapshot is Ready, with the labels by which clients look for it', async () => {
    await start();
    await trigger();
    const status = await triggered();
    assert.equal(status.conditions?.[0]?.reason, 'Complete');
    assert.equal(status.snapshotCreated?.name, 'box-1');
    const { items } = await world.client.list<PodSnapshot>(POD_SNAPSHOTS, {
      labelSelector: `${NAME_HASH_LABEL}=${nameHash('box')}`,
    });
    assert.deepEqual(
      items.map(({ metadata, status: found }) => [
        metadata.name,
        metadata.annotations?.['podsnapshot.gke.io/origin-pod'],
        found?.conditions?.[0]?.status,
        found?.storage,
        found?.compatibility?.runtime,
      ]),
      [['box-1', 'box', 'True', { id: 'data', sizeBytes: 6 }, 'runsc 1']],
    );
  });

  it('a trigger that fails says why, once', async () => {
    let calls = 0;
    take = async () => {
      calls++;
      throw new Error('there is no Pod "box"');
    };
    await start();
    await trigger();
    const { conditions } = await triggered();
    assert.deepEqual([conditions?.[0]?.status, conditions?.[0]?.reason], ['False', 'Failed']);
    assert.equal(conditions?.[0]?.message, 'there is no Pod "box"');
    assert.equal(calls, 1);
  });

  it('a trigger whose snapshot an engine took that ended then is not carried out again', async () => {
    const { metadata } = await trigger();
    await publish('data', identityOf('box-1', { cause: 'trigger', trigger: metadata.uid ?? '' }));
    take = async () => assert.fail('taken twice');
    await start();
    assert.equal((await triggered()).snapshotCreated?.name, 'box-1');
  });

  it('data goes with its PodSnapshot, and the Sandbox that slept in it will start anew', async () => {
    await publish('data', identityOf('box-1'));
    await world.patch(SANDBOXES, 'box', { metadata: { annotations: { [SNAPSHOT_ANNOTATION]: 'data' } } });
    await start();
    await world.client.delete(POD_SNAPSHOTS, { namespace: 'default', name: 'box-1' });
    await until('the data is gone', discarded);
    assert.equal((await world.get<Sandbox>(SANDBOXES, 'box'))?.metadata.annotations?.[SNAPSHOT_ANNOTATION], undefined);
  });

  it('a PodSnapshot that only says so has no data, and takes none with it', async () => {
    await publish('data', identityOf('box-1'));
    await start();
    await world.create<PodSnapshot>(POD_SNAPSHOTS, { metadata: { name: 'forged' } });
    await world.patchStatus(POD_SNAPSHOTS, 'forged', { storage: { id: 'data', sizeBytes: 6 } });
    await readiness('forged', 'DataMissing');
    await world.client.delete(POD_SNAPSHOTS, { namespace: 'default', name: 'forged' });
    await world.client.delete(POD_SNAPSHOTS, { namespace: 'default', name: 'box-1' });
    await until('the data is gone', discarded);
  });

  it('at the start, data whose PodSnapshot went while nobody watched is removed, unless somebody needs it still', async () => {
    writeData('left', identityOf('box-4'));
    writeData('slept-in', identityOf('box-3'));
    writeData('restoring', identityOf('box-2'));
    await publish('standing', identityOf('box-1'));
    await world.patch(SANDBOXES, 'box', { metadata: { annotations: { [SNAPSHOT_ANNOTATION]: 'slept-in' } } });
    await world.create<Pod>(PODS, {
      metadata: { name: 'box', annotations: { [RESTORE_ANNOTATION]: 'restoring' } },
      spec: { containers: [{ name: 'main', image: 'test' }] },
    });
    await start();
    assert.deepEqual(snapshots.list().sort(), ['restoring', 'slept-in', 'standing']);
  });

  it('at the start, a snapshot that an open trigger asks for is not taken for one that is left', async () => {
    await trigger();
    take = async (asked) => {
      const identity = identityOf('box-1', { cause: 'trigger', trigger: asked });
      writeData('data', identity);
      // Whatever else a start does is done while it is taken.
      await controller?.synced;
      return await publish('data', identity);
    };
    await start();
    assert.equal((await triggered()).snapshotCreated?.name, 'box-1');
    assert.deepEqual(snapshots.list(), ['data']);
  });

  it('once the processes of a snapshot go on, it is said whether a PodSnapshot stands for its data', async () => {
    const publisher = createSnapshotPublisher(world.client, () => new Date());
    const kept = await publish('kept', identityOf('box-1', { cause: 'trigger' }));
    const outlived = (id: string, podSnapshot: PodSnapshotIdentity) =>
      publisher({ change: 'outlived', id, record: { address: '', podSnapshot }, sizeBytes: 0 });
    assert.deepEqual(await outlived('kept', kept), { stands: true });
    await world.client.delete(POD_SNAPSHOTS, { namespace: 'default', name: 'box-1' });
    assert.deepEqual(await outlived('kept', kept), { stands: false });
  });

  it('at the start, a snapshot of another runsc is not Ready', async () => {
    await publish('data', identityOf('box-1'), { ...MACHINE, runtime: 'runsc 0' });
    await start();
    const { status, message } = await readiness('box-1', 'Incompatible');
    assert.deepEqual(
      [status, message],
      ['False', "It can't be restored here: it was taken with runsc 0, this is runsc 1"],
    );
  });

  const keepOne = () =>
    world.create(POD_SNAPSHOT_POLICIES, {
      metadata: { name: 'one' },
      spec: {
        selector: { matchLabels: {} },
        snapshotGroupingRules: { groupRetentionPolicy: { maxSnapshotCountPerGroup: 1 } },
      },
    } as never);

  it('a policy does not remove the one that a Pod was stopped into before its Sandbox has heard of it', async () => {
    await keepOne();
    const pod = await world.create<Pod>(PODS, {
      metadata: { name: 'box' },
      spec: { containers: [{ name: 'main', image: 'i' }] },
    } as never);
    await publish(pod.metadata.uid ?? '', identityOf('box-2'));
    await publish('oldest', identityOf('box-3', { takenAtMs: 0 }));
    await publish('newest', identityOf('box-1', { takenAtMs: 2 }));
    await start();
    await until('the oldest is gone', () => snapshots.list().length === 2);
    assert.deepEqual(snapshots.list().sort(), [pod.metadata.uid, 'newest'].sort());
  });

  it('a policy removes the oldest, but never the one in which a Sandbox sleeps', async () => {
    await keepOne();
    // Of those of one second, the name decides.
    for (const [id, name] of [
      ['oldest', 'box-2'],
      ['slept-in', 'box-1'],
      ['newest', 'box-0'],
    ] as const)
      await publish(id, identityOf(name));
    await world.patch(SANDBOXES, 'box', { metadata: { annotations: { [SNAPSHOT_ANNOTATION]: 'slept-in' } } });
    await start();
    await until('the oldest is gone', () => snapshots.list().length === 2);
    assert.deepEqual(snapshots.list().sort(), ['newest', 'slept-in']);
  });

  describe('what the next Pod starts from', () => {
    const choose = async (change: object = {}) => {
      const changed = await world.patch<Sandbox>(SANDBOXES, 'box', change);
      return await chooseSnapshot(world.client, changed);
    };
    const named = (name: string) => ({
      spec: { podTemplate: { metadata: { annotations: { [SNAPSHOT_NAME_ANNOTATION]: name } } } },
    });

    it('nothing, while nothing was ever suspended', async () => {
      await publish('data', identityOf('box-1'));
      assert.equal(await choose(), undefined);
    });
    it('the latest of its own, after a suspension that left none', async () => {
      await publish('older', identityOf('box-2'));
      await publish('newer', identityOf('box-1'));
      const another = await world.create<Sandbox>(SANDBOXES, sandboxOf('another'));
      const owner = { ...identityOf('').owner, name: 'another', uid: another.metadata.uid ?? '' } as never;
      await publish('foreign', identityOf('box-0', { owner }));
      await world.patchStatus(SANDBOXES, 'box', {
        conditions: [
          {
            type: 'Suspended',
            status: 'True',
            reason: 'PodTerminated',
            message: '',
            lastTransitionTime: '2026-01-01T00:00:00Z',
          },
        ],
      });
      assert.equal(await choose(), 'newer');
    });
    it('the one in which it was suspended, unless another is named', async () => {
      await publish('data', identityOf('box-1'));
      const suspended = { metadata: { annotations: { [SNAPSHOT_ANNOTATION]: 'slept-in' } } };
      assert.equal(await choose(suspended), 'slept-in');
      assert.equal(await choose(named('box-1')), 'data');
    });
    const refusals: [what: string, name: string, message: RegExp][] = [
      ['one that does not exist', 'none', /"none" does not exist/],
      ['that of another Sandbox', 'foreign', /is not of this Sandbox/],
      ['one that is not Ready', 'forged', /is not Ready/],
    ];
    for (const [what, name, message] of refusals)
      it(`refuses ${what}`, async () => {
        const another = await world.create<Sandbox>(SANDBOXES, sandboxOf('another'));
        const owner = { ...identityOf('').owner, name: 'another', uid: another.metadata.uid ?? '' } as never;
        await publish('data', identityOf('foreign', { owner }));
        const ownerReferences = [identityOf('').owner as never];
        await world.create<PodSnapshot>(POD_SNAPSHOTS, { metadata: { name: 'forged', ownerReferences } });
        await assert.rejects(choose(named(name)), message);
        const allowed = { metadata: { annotations: { 'sandbox-router/cold-start': 'allow' } } };
        assert.equal(await choose(allowed), undefined);
      });
  });
});
