import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { suspend } from '../../../src/engine/controllers/sandbox/suspend.ts';
import { type Pod, RESTORE_ANNOTATION, type ResourceClient, type Sandbox } from '../../../src/kubernetes/index.ts';

const SANDBOX = {
  apiVersion: 'agents.x-k8s.io/v1beta1',
  kind: 'Sandbox',
  metadata: { name: 'box', namespace: 'default', uid: 'sandbox-uid', generation: 2 },
  spec: { operatingMode: 'Suspended', podTemplate: { spec: { containers: [] } } },
} as unknown as Sandbox;

function podOf(annotations: Record<string, string>, status: Pod['status']): Pod {
  const owner = { apiVersion: SANDBOX.apiVersion, kind: 'Sandbox', name: 'box', uid: 'sandbox-uid', controller: true };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'box', namespace: 'default', uid: 'pod-uid', annotations, ownerReferences: [owner] },
    spec: { containers: [] },
    ...(status === undefined ? {} : { status }),
  } as unknown as Pod;
}

/** What one step of suspending does to a Pod. */
async function step(pod: Pod): Promise<string[]> {
  const done: string[] = [];
  const client = {
    delete: async () => void done.push('deleted'),
    patch: async () => {
      done.push('checkpoint asked for');
      return pod;
    },
  } as unknown as ResourceClient;
  const dependencies = { client, snapshots: true, now: () => new Date(0), again: () => {}, drainMs: () => 0 };
  await suspend(SANDBOX, pod, dependencies);
  return done;
}

const waiting = (reason: string) => ({ phase: 'Pending', containerStatuses: [{ state: { waiting: { reason } } }] });
const running = { phase: 'Running', containerStatuses: [{ state: { running: {} } }] };
const restored = { [RESTORE_ANNOTATION]: 'snapshot' };

describe('suspending a Sandbox', () => {
  for (const [what, annotations, status, expected] of [
    ['that runs is done by a checkpoint', {}, running, ['checkpoint asked for']],
    ['whose Pod was not started yet just deletes it', {}, undefined, ['deleted']],
    ['whose Pod is being made just deletes it', {}, waiting('ContainerCreating'), ['deleted']],
    [
      'whose Pod was restored a moment ago waits for word of it: it may have gone on beyond its snapshot',
      restored,
      undefined,
      [],
    ],
    ['whose Pod is being restored waits for the end of that', restored, waiting('ContainerCreating'), []],
    ['whose Pod was restored is done by a checkpoint', restored, running, ['checkpoint asked for']],
    ['whose Pod may run, as nobody can tell, waits for word of it', {}, waiting('ContainerStatusUnknown'), []],
    ['whose Pod can not be restored deletes it', restored, waiting('SnapshotRestoreFailed'), ['deleted']],
    [
      'whose restored Pod waits for something else deletes it',
      restored,
      waiting('CreateContainerConfigError'),
      ['deleted'],
    ],
  ] as const)
    it(what, async () => assert.deepEqual(await step(podOf(annotations, status as never)), expected));
});
