import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type {
  KubernetesObject,
  ObjectKey,
  PodSnapshotManualTrigger,
  ResourceClient,
  WatchEvent,
} from '../../../src/kubernetes/index.ts';
import { SnapshotError, takePodSnapshot } from '../../../src/router/wake/idle/pod-snapshot.ts';

const POD = { namespace: 'default', name: 'box' };
type Outcome = 'Complete' | 'Failed' | 'pending';

const statusOf = (outcome: Outcome) =>
  outcome === 'pending'
    ? {}
    : {
        conditions: [
          { type: 'Triggered', status: outcome === 'Complete' ? 'True' : 'False', reason: outcome, message: 'm' },
        ],
        snapshotCreated: { name: 'snapshot' },
      };

/** An API that holds triggers, and ends each new one as it is told. */
function api(existing: Record<string, Outcome>, outcome: Outcome) {
  const triggers = new Map<string, PodSnapshotManualTrigger>();
  const add = (name: string, ended: Outcome) =>
    triggers.set(name, {
      metadata: { ...POD, name, resourceVersion: name },
      spec: { targetPod: 'box' },
      status: statusOf(ended),
    } as unknown as PodSnapshotManualTrigger);
  for (const [name, ended] of Object.entries(existing)) add(name, ended);
  const left: string[][] = [];
  const client = {
    create: async (_type: unknown, object: KubernetesObject) => {
      left.push([...triggers.keys()]);
      add(object.metadata.name, 'pending');
      return object;
    },
    list: async () => ({ items: [...triggers.values()], resourceVersion: '1' }),
    delete: async (_type: unknown, { name }: ObjectKey, options: { resourceVersion?: string }) => {
      assert.equal(options.resourceVersion, name, 'only as it was seen');
      triggers.delete(name);
    },
    get: async (_type: unknown, { name }: ObjectKey) => triggers.get(name),
    /** Ends at once, as servers may. */
    watch: async function* (): AsyncGenerator<WatchEvent<KubernetesObject>> {
      const name = [...triggers.keys()].at(-1) ?? '';
      add(name, outcome);
      yield { type: 'MODIFIED', object: triggers.get(name) as unknown as KubernetesObject };
    },
  } as unknown as ResourceClient;
  return { client, names: () => [...triggers.keys()], beforeCreate: left };
}

describe('a snapshot of a pod', () => {
  it('takes back what a router that ended in the middle had asked for, and keeps complete ones until the next is', async () => {
    const { client, names, beforeCreate } = api(
      { orphan: 'pending', earlier: 'Complete', spent: 'Failed' },
      'Complete',
    );
    assert.equal(await takePodSnapshot(client, POD, new Date(0)), 'snapshot');
    assert.deepEqual(beforeCreate, [['earlier', 'spent']]);
    assert.equal(names().length, 1, 'only the trigger of the latest snapshot is left');
    assert.match(names()[0] ?? '', /^box-19700101-000000-/);
  });

  it('that fails leaves the earlier one', async () => {
    const { client, names } = api({ earlier: 'Complete' }, 'Failed');
    await assert.rejects(takePodSnapshot(client, POD, new Date(0)), SnapshotError);
    assert.deepEqual(names(), ['earlier']);
  });

  it('whose trigger is never ended is none', async () => {
    const { client, names } = api({}, 'pending');
    await assert.rejects(takePodSnapshot(client, POD, new Date(0), 700), /not complete within 0.7 s/);
    assert.deepEqual(names(), []);
  });
});
