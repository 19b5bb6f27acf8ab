import {
  isApiError,
  type KubernetesObject,
  ORIGIN_POD_ANNOTATION,
  POD_SNAPSHOT_MANUAL_TRIGGERS,
  POD_SNAPSHOT_POLICIES,
  POD_SNAPSHOT_STORAGE_CONFIGS,
  POD_SNAPSHOTS,
  PODS,
  type Pod,
  type PodSnapshot,
  type PodSnapshotManualTrigger,
  type PodSnapshotPolicy,
  RESTORE_ANNOTATION,
  type ResourceClient,
  type ResourceType,
  SANDBOXES,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
} from '../../../kubernetes/index.ts';
import type { RuntimeCompatibility } from '../../runtime/index.ts';
import { conditionOf, mergeConditions, type WantedCondition } from '../conditions.ts';
import { createObjectCache, keyOf } from '../object-cache.ts';
import { machineIncompatibility } from '../pod/compatibility.ts';
import type { PodController } from '../pod/index.ts';
import { annotate, deleteIfThere, find } from '../sandbox/api.ts';
import type { RunningController } from '../sandbox/index.ts';
import { createWorkQueue } from '../work-queue.ts';
import { CAUSE_ANNOTATION, readyCondition, TRIGGER_ANNOTATION } from './pod-snapshot.ts';
import { surplusSnapshots } from './retention.ts';
import { carryOut, isOver } from './trigger.ts';

export { createSnapshotPublisher } from './publisher.ts';

/** What the snapshot controller needs. */
export interface SnapshotControllerOptions {
  client: ResourceClient;
  pods: Pick<PodController, 'takeSnapshot' | 'snapshots'>;
  /** What snapshots can be restored with here. */
  compatibility: RuntimeCompatibility;
  now?: () => Date;
  failed(what: string, error: unknown): void;
}

/** An object of which only the conditions of its status are looked at. */
type Conditioned = KubernetesObject & { status?: PodSnapshotPolicy['status'] };

const KEPT_HERE: WantedCondition = {
  type: 'Ready',
  status: 'True',
  reason: 'KeptOnThisMachine',
  message: 'This engine keeps all snapshots in its state directory, whatever storage is named',
};

/**
 * podsnapshot.gke.io/v1 on one machine (contract section 4.5): carries out triggers, removes what is too many, and lets data and PodSnapshots go
 * together. It starts after the Pod controller has recovered.
 */
export function startSnapshotController(options: SnapshotControllerOptions): RunningController {
  const { client, failed, now = () => new Date() } = options;
  const { snapshots } = options.pods;
  /** What was taken by this process: the cache may be a moment behind. */
  const takenNow = new Map<string, string>();

  const triggerQueue = createWorkQueue({
    reconcile: async (key) => {
      const trigger = triggers.get(key);
      if (trigger === undefined || trigger.metadata.deletionTimestamp !== undefined || isOver(trigger)) return;
      await carryOut(trigger, { client, now, takenBefore, take });
      takenNow.delete(trigger.metadata.uid ?? '');
    },
    failed: (key, error) => failed(`snapshot trigger ${key}`, error),
  });
  const namespaceQueue = createWorkQueue({
    reconcile: removeSurplus,
    failed: (namespace, error) => failed(`retention of snapshots in ${namespace}`, error),
  });

  function takenBefore(trigger: string): string | undefined {
    const found = [...podSnapshots.values()].find(
      ({ metadata }) => metadata.annotations?.[TRIGGER_ANNOTATION] === trigger,
    );
    return takenNow.get(trigger) ?? found?.metadata.name;
  }

  async function take(pod: { namespace: string; name: string }, trigger: string): Promise<string> {
    const { name } = await options.pods.takeSnapshot(pod, trigger);
    takenNow.set(trigger, name);
    return name;
  }

  /** Before that, each would be held against those that came so far, over and over. */
  let areListed = false;

  const watching = (what: string) => (error: unknown) => failed(`watching ${what}`, error);
  const podSnapshots = createObjectCache<PodSnapshot>(
    client,
    POD_SNAPSHOTS,
    (after, before) => {
      if (after === undefined && before !== undefined)
        discard(before).catch((error) => failed(`data of snapshot ${keyOf(before)}`, error));
      if (after === undefined) return;
      if (areListed) namespaceQueue.add(after.metadata.namespace ?? '');
      // Those that the engine took are written with their status; this is somebody else's work.
      if (after.metadata.annotations?.[CAUSE_ANNOTATION] === undefined) judge(after);
    },
    watching('snapshots'),
  );
  const policies = createObjectCache<PodSnapshotPolicy>(
    client,
    POD_SNAPSHOT_POLICIES,
    (after) => {
      if (after === undefined) return;
      namespaceQueue.add(after.metadata.namespace ?? '');
      say(POD_SNAPSHOT_POLICIES, after, KEPT_HERE);
    },
    watching('snapshot policies'),
  );
  const storageConfigs = createObjectCache<Conditioned>(
    client,
    POD_SNAPSHOT_STORAGE_CONFIGS,
    (after) => {
      if (after !== undefined) say(POD_SNAPSHOT_STORAGE_CONFIGS, after, KEPT_HERE);
    },
    watching('snapshot storage'),
  );
  const triggers = createObjectCache<PodSnapshotManualTrigger>(
    client,
    POD_SNAPSHOT_MANUAL_TRIGGERS,
    (after) => {
      // Before all snapshots are known, one that was taken already might be taken again; and one that is being taken has no PodSnapshot yet.
      if (after !== undefined && !isOver(after)) judged.then(() => triggerQueue.add(keyOf(after)));
    },
    watching('snapshot triggers'),
  );
  const judged = podSnapshots.synced.then(async () => {
    areListed = true;
    await discardUnclaimed();
    const found = [...podSnapshots.values()];
    for (const snapshot of found) judge(snapshot);
    for (const namespace of new Set(found.map(({ metadata }) => metadata.namespace ?? '')))
      namespaceQueue.add(namespace);
  });

  /**
   * Removes data whose PodSnapshot went before this controller watched: the garbage collector is there first. What a Pod is being stopped into or started from,
   * and what a Sandbox sleeps in, stays.
   */
  async function discardUnclaimed(): Promise<void> {
    const found = snapshots.list();
    const [pods, sandboxes] = await Promise.all([client.list<Pod>(PODS), client.list<Sandbox>(SANDBOXES)]);
    const used = new Set<string | undefined>();
    for (const { metadata } of pods.items) used.add(metadata.uid).add(metadata.annotations?.[RESTORE_ANNOTATION]);
    for (const { metadata } of sandboxes.items) used.add(metadata.annotations?.[SNAPSHOT_ANNOTATION]);
    for (const id of found) {
      const identity = snapshots.recordOf(id)?.podSnapshot;
      if (
        identity !== undefined &&
        !used.has(id) &&
        podSnapshots.get(`${identity.namespace}/${identity.name}`) === undefined
      )
        await snapshots.discard(id);
    }
  }

  /** Whether the data of a PodSnapshot is there and of use on this machine. */
  function judge(snapshot: PodSnapshot): void {
    const id = dataOf(snapshot);
    const taken = id === undefined ? undefined : snapshots.recordOf(id)?.compatibility;
    const incompatible = taken === undefined ? undefined : machineIncompatibility(taken, options.compatibility);
    const problem =
      id === undefined || !snapshots.exists(id)
        ? { reason: 'DataMissing', message: 'This engine has no data of this snapshot' }
        : incompatible === undefined
          ? undefined
          : { reason: 'Incompatible', message: `It can't be restored here: ${incompatible}` };
    say(POD_SNAPSHOTS, snapshot, readyCondition(problem));
  }

  /** Id of a PodSnapshot's data; undefined for an object that only says it had some. */
  function dataOf({ metadata, status }: PodSnapshot): string | undefined {
    const id = status?.storage?.id;
    // An id is somebody's word here, and part of a path.
    if (id === undefined || !/^[\w-]+$/.test(id)) return undefined;
    const identity = snapshots.recordOf(id)?.podSnapshot;
    return identity?.name === metadata.name && identity.namespace === metadata.namespace ? id : undefined;
  }

  /** A Sandbox that would wake from a snapshot which is deleted starts anew: that is what deleting it asks for. */
  async function discard(snapshot: PodSnapshot): Promise<void> {
    const id = dataOf(snapshot);
    if (id === undefined) return;
    const sandbox = await sandboxOf(snapshot);
    if (sandbox?.metadata.annotations?.[SNAPSHOT_ANNOTATION] === id)
      await annotate(client, SANDBOXES, sandbox, { [SNAPSHOT_ANNOTATION]: null });
    await snapshots.discard(id);
  }

  async function sandboxOf({ metadata }: PodSnapshot): Promise<Sandbox | undefined> {
    const owner = metadata.ownerReferences?.find(({ kind }) => kind === 'Sandbox');
    if (owner === undefined) return undefined;
    const sandbox = await find<Sandbox>(client, SANDBOXES, { ...metadata, name: owner.name });
    return sandbox?.metadata.uid === owner.uid ? sandbox : undefined;
  }

  async function removeSurplus(namespace: string): Promise<void> {
    const within = <T extends KubernetesObject>(objects: Iterable<T>) =>
      [...objects].filter(({ metadata }) => metadata.namespace === namespace);
    const kept = within(podSnapshots.values()).filter(({ status }) => status?.storage !== undefined);
    for (const snapshot of surplusSnapshots(kept, within(policies.values())))
      if (!(await isSleptIn(snapshot))) await deleteIfThere(client, POD_SNAPSHOTS, snapshot);
  }

  /** What a Sandbox sleeps in is not history; nor is what its Pod was just stopped into, which has the Pod's UID: the Sandbox says so before the Pod goes. */
  async function isSleptIn(snapshot: PodSnapshot): Promise<boolean> {
    const id = snapshot.status?.storage?.id;
    const podName = snapshot.metadata.annotations?.[ORIGIN_POD_ANNOTATION] ?? '';
    const pod = await find<Pod>(client, PODS, { ...snapshot.metadata, name: podName });
    if (pod !== undefined && pod.metadata.uid === id) return true;
    const sandbox = await sandboxOf(snapshot);
    return sandbox !== undefined && sandbox.metadata.annotations?.[SNAPSHOT_ANNOTATION] === id;
  }

  function say(type: ResourceType, object: Conditioned, wanted: WantedCondition): void {
    const { status, reason, message } = conditionOf(object, wanted.type) ?? {};
    if (status === wanted.status && reason === wanted.reason && message === wanted.message) return;
    const conditions = mergeConditions(object.status?.conditions, [wanted], now(), [wanted.type]);
    const patch = { metadata: { uid: object.metadata.uid }, status: { conditions } };
    client.patch(type, object.metadata, patch, { type: 'merge', subresource: 'status' }).catch((error) => {
      // Deleted meanwhile.
      if (!isApiError(error, 'NotFound')) failed(`status of ${type.plural}/${keyOf(object)}`, error);
    });
  }

  const caches = [podSnapshots, policies, storageConfigs, triggers];
  return {
    synced: Promise.all([judged, ...caches.map(({ synced }) => synced)]).then(() => {}),
    close: async () => {
      for (const cache of caches) cache.close();
      await Promise.all([triggerQueue.close(), namespaceQueue.close()]);
    },
  };
}
