import {
  isApiError,
  POD_SNAPSHOT_POLICIES,
  POD_SNAPSHOTS,
  type PodSnapshot,
  type PodSnapshotPolicy,
  type ResourceClient,
} from '../../../kubernetes/index.ts';
import { mergeConditions } from '../conditions.ts';
import type { PodSnapshotChange } from '../pod/pod-snapshots.ts';
import { deleteIfThere, find } from '../sandbox/api.ts';
import { podSnapshotFacts, podSnapshotOf, readyCondition } from './pod-snapshot.ts';
import { isRetainedBy } from './retention.ts';

/** Writes into the API what the Pod controller does with snapshots. Every call can be repeated. */
export function createSnapshotPublisher(client: ResourceClient, now: () => Date) {
  async function taken({ id, record, sizeBytes }: PodSnapshotChange): Promise<void> {
    if (record.podSnapshot === undefined) return;
    const wanted = podSnapshotOf(record.podSnapshot);
    let object: PodSnapshot;
    try {
      object = await client.create<PodSnapshot>(POD_SNAPSHOTS, wanted);
    } catch (error) {
      const found = isApiError(error, 'AlreadyExists')
        ? await find<PodSnapshot>(client, POD_SNAPSHOTS, wanted.metadata)
        : undefined;
      if (found === undefined) throw error;
      object = found;
    }
    const conditions = mergeConditions(object.status?.conditions, [readyCondition(undefined)], now());
    const status = { ...podSnapshotFacts(id, record, sizeBytes), conditions };
    const patch = { metadata: { uid: object.metadata.uid }, status };
    await client.patch(POD_SNAPSHOTS, object.metadata, patch, { type: 'merge', subresource: 'status' });
  }

  /** A snapshot taken by suspending has done its duty, unless a policy keeps such ones. Resolves with whether anything stands for its data. */
  async function outlived({ id, record: { podSnapshot } }: PodSnapshotChange): Promise<boolean> {
    if (podSnapshot === undefined) return false;
    const object = await find<PodSnapshot>(client, POD_SNAPSHOTS, podSnapshot);
    // Deleted while its data was needed for the start that is over now.
    if (object === undefined || object.status?.storage?.id !== id) return false;
    if (podSnapshot.cause !== 'suspend') return true;
    const { items } = await client.list<PodSnapshotPolicy>(POD_SNAPSHOT_POLICIES, {
      namespace: podSnapshot.namespace,
    });
    if (!items.some((policy) => isRetainedBy(policy, object))) await deleteIfThere(client, POD_SNAPSHOTS, object);
    return true;
  }

  return async (change: PodSnapshotChange): Promise<{ stands: boolean }> => {
    if (change.change === 'outlived') return { stands: await outlived(change) };
    await taken(change);
    return { stands: true };
  };
}
