import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { startExtensionControllers } from '../../../src/engine/controllers/extensions.ts';
import type { RunningController } from '../../../src/engine/controllers/index.ts';
import { cloneHookOf, processRevision } from '../../../src/engine/controllers/pod/clone.ts';
import { type SnapshotRecord, seedSnapshotId } from '../../../src/engine/controllers/pod/snapshots.ts';
import { chooseSnapshot } from '../../../src/engine/controllers/sandbox/choose-snapshot.ts';
import { blueprintHash } from '../../../src/engine/controllers/template/blueprint.ts';
import { copyRefusal } from '../../../src/engine/controllers/template-snapshot/refusal.ts';
import { SEED_GRACE_MS } from '../../../src/engine/controllers/template-snapshot/seed.ts';
import type { ContainerSpec } from '../../../src/engine/runtime/index.ts';
import {
  CHECKPOINT_ANNOTATION,
  CHECKPOINTED_CONDITION,
  CLONE_ANNOTATION,
  CLONE_HOOK_ANNOTATION,
  CLONE_OF_ANNOTATION,
  EVENTS,
  type KubernetesObject,
  PODS,
  type Pod,
  type PodSpec,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxTemplate,
  type SandboxWarmPool,
} from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';
import { type EngineWorld, engineWorld, removeWorld, sandboxOf } from './engine-world.ts';

const spec: PodSpec = { containers: [{ name: 'main', image: 'test' }] };
const MACHINE = { runtime: 'runsc 1', cpuFeatures: [] };

describe('snapshots of templates', () => {
  let world: EngineWorld;
  let controllers: RunningController;
  let clockMs: number;
  let failures: string[];
  /** What is on the disk. */
  let kept: Map<string, SnapshotRecord>;

  beforeEach(async () => {
    world = await engineWorld();
    clockMs = 0;
    failures = [];
    kept = new Map();
    await start();
  });
  afterEach(async () => {
    await controllers.close();
    await world.close();
    removeWorld(world);
    assert.deepEqual(failures, []);
  });

  async function start(copies = true): Promise<void> {
    controllers = startExtensionControllers({
      client: world.client,
      templateSnapshots: {
        snapshots: {
          exists: (id) => kept.has(id),
          recordOf: (id) => kept.get(id),
          list: () => [...kept.keys()],
          discard: async (id) => void kept.delete(id),
        },
        compatibility: MACHINE,
        copies,
        nodeName: 'local',
      },
      now: () => new Date(Date.now() + clockMs),
      failed: (what, error) => failures.push(`${what}: ${(error as Error).message}`),
    });
    await controllers.synced;
  }
  const make = async (pod: PodSpec = spec) => {
    const template = await world.create<SandboxTemplate>(SANDBOX_TEMPLATES, {
      metadata: { name: 'box', annotations: { [CLONE_ANNOTATION]: 'true' } },
      spec: { podTemplate: { spec: pod } },
    });
    await world.create<SandboxWarmPool>(SANDBOX_WARM_POOLS, {
      metadata: { name: 'box' },
      spec: { replicas: 2, sandboxTemplateRef: { name: 'box' } },
    });
    return template;
  };
  const members = async () => (await world.client.list<Sandbox>(SANDBOXES)).items;
  const pods = async () => (await world.client.list<Pod>(PODS)).items;
  const seedOf = (template: SandboxTemplate) =>
    until('there is a seed', () => world.get<Pod>(PODS, `box-seed-${blueprintHash(template)}`));
  const condition = (type: string, status: string) => ({
    type,
    status,
    reason: 'Test',
    message: 'as the test says',
    lastTransitionTime: new Date().toISOString(),
  });
  /** Plays the kubelet: Ready, and stopped into a snapshot when that is asked for. */
  async function takeSnapshot(template: SandboxTemplate): Promise<string> {
    const { metadata } = await seedOf(template);
    await world.patchStatus(PODS, metadata.name, { phase: 'Running', conditions: [condition('Ready', 'True')] });
    const asked = await until('a checkpoint is asked for', async () => {
      const seed = await world.get<Pod>(PODS, metadata.name);
      return seed?.metadata.annotations?.[CHECKPOINT_ANNOTATION] !== undefined && seed;
    });
    const id = seedSnapshotId(asked) ?? '';
    kept.set(id, {
      address: '',
      compatibility: { ...MACHINE, image: 'test', templateRevision: 'r' },
      template: { namespace: 'default', name: 'box', processes: 'p' },
    });
    await world.patchStatus(PODS, metadata.name, { conditions: [condition(CHECKPOINTED_CONDITION, 'True')] });
    return id;
  }
  const filled = (start: string | undefined) =>
    until(`the pool is filled from ${start ?? 'the command'}`, async () => {
      const found = await members();
      return found.length === 2 && found.every(({ metadata }) => metadata.annotations?.[CLONE_OF_ANNOTATION] === start);
    });
  const told = (reason: string) =>
    until(`${reason} is told`, async () => {
      const { items } = await world.client.list<KubernetesObject & { reason: string; message: string }>(EVENTS);
      return items.find((event) => event.reason === reason);
    });

  it('a pool waits for the snapshot, is filled with copies of it, and the seed is gone', async () => {
    const template = await make();
    const seed = await seedOf(template);
    assert.deepEqual(await members(), []);
    assert.equal(seed.metadata.ownerReferences?.[0]?.kind, 'SandboxTemplate');
    await filled(await takeSnapshot(template));
    await until('the seed is gone', async () => (await pods()).length === 0);
    await told('TemplateSnapshotTaken');
  });

  it('a changed template gets another seed, and the old snapshot is removed', async () => {
    const id = await takeSnapshot(await make());
    await filled(id);
    const changed = await world.patch<SandboxTemplate>(SANDBOX_TEMPLATES, 'box', {
      spec: { podTemplate: { spec: { containers: [{ name: 'main', image: 'another' }] } } },
    });
    await until('the old one is removed', () => !kept.has(id));
    assert.notEqual(await takeSnapshot(changed), id);
  });

  it('a change while the seed starts ends that seed', async () => {
    const old = await seedOf(await make());
    const changed = await world.patch<SandboxTemplate>(SANDBOX_TEMPLATES, 'box', {
      spec: { podTemplate: { spec: { containers: [{ name: 'main', image: 'another' }] } } },
    });
    await until('the old seed is gone', async () => (await world.get(PODS, old.metadata.name)) === undefined);
    await filled(await takeSnapshot(changed));
  });

  it('the snapshot goes with the last pool', async () => {
    const id = await takeSnapshot(await make());
    await filled(id);
    await world.client.delete(SANDBOX_WARM_POOLS, { namespace: 'default', name: 'box' });
    await until('the snapshot is removed', () => !kept.has(id));
  });

  it('what a killed engine left of a template that is gone is removed, what is still wanted is used', async () => {
    const id = await takeSnapshot(await make());
    await filled(id);
    await controllers.close();
    kept.set('template-gone-00000000', { address: '' });
    await world.client.delete(SANDBOXES, { namespace: 'default', name: (await members())[0]?.metadata.name ?? '' });
    await start();
    await filled(id);
    await until('the other is removed', () => kept.size === 1);
    assert.deepEqual([...kept.keys()], [id]);
  });

  it('a snapshot of another runtime is taken again', async () => {
    const template = await make();
    const id = await takeSnapshot(template);
    await filled(id);
    await controllers.close();
    const record = kept.get(id);
    assert.ok(record?.compatibility);
    kept.set(id, { ...record, compatibility: { ...record.compatibility, runtime: 'runsc 0' } });
    await world.client.delete(SANDBOXES, { namespace: 'default', name: (await members())[0]?.metadata.name ?? '' });
    await start();
    assert.equal(await takeSnapshot(template), id);
    await filled(id);
  });

  for (const { name, status, later = 0, message } of [
    {
      name: 'whose checkpoint fails',
      status: { conditions: [condition(CHECKPOINTED_CONDITION, 'False')] },
      message: /as the test says/,
    },
    { name: 'that ends', status: { phase: 'Failed' }, message: /Failed/ },
    {
      name: 'that crashes again and again',
      status: {
        containerStatuses: [
          {
            name: 'main',
            image: 'test',
            imageID: 'test',
            ready: false,
            restartCount: 2,
            state: { waiting: { reason: 'CrashLoopBackOff', message: 'exit 1' } },
          },
        ],
      },
      message: /CrashLoopBackOff exit 1/,
    },
    { name: 'that never gets Ready', status: { phase: 'Pending' }, later: SEED_GRACE_MS, message: /not Ready/ },
  ])
    it(`a seed ${name} is removed, that is told, and members start from their command`, async () => {
      const { metadata } = await seedOf(await make());
      clockMs = later;
      await world.patchStatus(PODS, metadata.name, status);
      assert.match((await told('TemplateSnapshotFailed')).message, message);
      await filled(undefined);
      await until('the seed is gone', async () => (await pods()).length === 0);
    });

  it('a Pod of the name of the seed is left alone', async () => {
    const hash = blueprintHash({ spec: { podTemplate: { spec } } } as SandboxTemplate);
    await world.create<Pod>(PODS, { metadata: { name: `box-seed-${hash}` }, spec });
    await make();
    assert.match((await told('TemplateSnapshotFailed')).message, /in the way/);
    await filled(undefined);
    assert.equal((await pods()).length, 1);
  });

  it('a runtime that has no copies to give is told, and no seed is started', async () => {
    await controllers.close();
    await start(false);
    await make();
    assert.match((await told('TemplateSnapshotRefused')).message, /runtime/);
    await filled(undefined);
    assert.deepEqual(await pods(), []);
  });
});

describe('what can be copied', () => {
  const refusalOf = (template: object) => copyRefusal({ spec: template } as SandboxTemplate);
  const withVariable = (fieldPath: string) =>
    refusalOf({
      podTemplate: {
        spec: { containers: [{ name: 'main', env: [{ name: 'ME', valueFrom: { fieldRef: { fieldPath } } }] }] },
      },
    });

  it('no Pods whose variables tell them apart', () => {
    for (const path of ['metadata.name', 'metadata.uid', 'status.podIP', "metadata.labels['app']"])
      assert.match(withVariable(path) ?? '', /ME/);
    for (const path of ['metadata.namespace', 'spec.nodeName']) assert.equal(withVariable(path), undefined);
  });

  it('no Pods with volumes that outlive them', () => {
    assert.match(
      refusalOf({ podTemplate: { spec }, volumeClaimTemplates: [{ metadata: { name: 'data' } }] }) ?? '',
      /volumes/,
    );
    const volumes = [{ name: 'data', persistentVolumeClaim: { claimName: 'mine' } }];
    assert.match(refusalOf({ podTemplate: { spec: { ...spec, volumes } } }) ?? '', /volumes/);
    assert.equal(
      refusalOf({ podTemplate: { spec: { ...spec, volumes: [{ name: 'tmp', emptyDir: {} }] } } }),
      undefined,
    );
  });

  it('nothing whose variables changed since; the order in which they stand does not matter', () => {
    const container = (env: Record<string, string>) =>
      processRevision({ command: ['run'], env, workingDirectory: '/', user: { uid: 0, gid: 0 } } as ContainerSpec);
    assert.equal(container({ a: '1', b: '2' }), container({ b: '2', a: '1' }));
    assert.notEqual(container({ a: '1' }), container({ a: '2' }));
  });

  it('a Sandbox is a copy only while its pool owns it, and of a template only', async () => {
    const owned = (kind: string, snapshot: string) => {
      const sandbox = sandboxOf('box');
      const owner = { apiVersion: 'v1', kind, name: 'pool', uid: 'u', controller: true };
      return chooseSnapshot({} as never, {
        apiVersion: 'agents.x-k8s.io/v1beta1',
        kind: 'Sandbox',
        ...sandbox,
        metadata: { ...sandbox.metadata, annotations: { [CLONE_OF_ANNOTATION]: snapshot }, ownerReferences: [owner] },
      });
    };
    assert.equal(await owned('SandboxWarmPool', 'template-a-b'), 'template-a-b');
    assert.equal(await owned('SandboxClaim', 'template-a-b'), undefined);
    assert.equal(await owned('SandboxWarmPool', 'hibernated-u'), undefined);
  });

  it('the hook is a path, of the port of the container or of another', () => {
    const hookOf = (hook: string | undefined) =>
      cloneHookOf({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'box', annotations: hook === undefined ? {} : { [CLONE_HOOK_ANNOTATION]: hook } },
        spec: { containers: [{ name: 'main', image: 'test', ports: [{ name: 'http', containerPort: 80 }] }] },
      });
    assert.equal(hookOf(undefined), undefined);
    assert.deepEqual(hookOf('/copied?x=1'), { port: 80, path: '/copied?x=1' });
    assert.deepEqual(hookOf(':8000/'), { port: 8000, path: '/' });
    for (const wrong of ['', 'copied', ':x/', ':0/', ':70000/', 'http://elsewhere/', '//a b'])
      assert.throws(() => hookOf(wrong), /clone-hook/);
  });
});
