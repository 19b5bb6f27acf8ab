import {
  matchesLabels,
  NAME_HASH_LABEL,
  nameHash,
  type PodSnapshot,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
  WARM_POOL_LABEL,
} from '../../../kubernetes/index.ts';
import type { Check } from '../check.ts';
import { unreadLists } from '../check.ts';
import type { Facts } from '../facts.ts';
import { count, failure, nameOf, ok, referenceTo, skipped, type Verdict, warning } from '../finding.ts';
import { controllerOf, isOver, isPaused, labelsOfNextPod, livePods } from '../subjects.ts';

const SNAPSHOT_LISTS = ['snapshots', 'snapshotPolicies', 'snapshotStorageConfigs'] as const;

/** Whether a pause keeps memory. */
export const snapshots: Check = {
  id: 'snapshots',
  title: 'a paused sandbox wakes with its memory',
  needs: ['sandboxes', 'pods'],
  judge: judgeSnapshots,
};

/** Policies and storage where the platform takes snapshots; for each paused sandbox the snapshot that its wake restores. */
export function judgeSnapshots(facts: Facts): Verdict[] {
  const { snapshots: taken, snapshotPolicies: policies, snapshotStorageConfigs: storage } = facts.lists;
  const faults = [
    ...(policies.unread === undefined ? judgeCoverage(facts) : []),
    ...(policies.unread === undefined && storage.unread === undefined ? judgeStorage(facts) : []),
    ...judgePaused(facts),
  ];
  const unread = unreadLists(facts, SNAPSHOT_LISTS, 'forbidden');
  if (!facts.server.isEngine && [taken, policies, storage].some(({ unread: why }) => why?.cause === 'not-served'))
    unread.push(notServed());
  const paused = facts.lists.sandboxes.items.filter(isPaused).length;
  const fine = ok(
    paused === 0
      ? 'No sandbox is paused; all could be.'
      : `${count(paused, 'paused sandbox', 'paused sandboxes')}, each with a snapshot to wake from.`,
  );
  return [...(faults.length === 0 && unread.length === 0 ? [fine] : faults), ...unread];
}

function notServed(): Verdict {
  return skipped(
    'podsnapshot.gke.io is not served by this cluster: a pause ends all processes of a sandbox, and its wake starts cold.',
    'On GKE, enable Pod Snapshots; elsewhere, keep what must survive a pause on volumes, or set sandbox-router/idle-timeout: never.',
  );
}

/** Sandboxes that nobody may snapshot. Members of a pool have nothing yet that is worth keeping. */
function judgeCoverage(facts: Facts): Verdict[] {
  if (facts.server.isEngine) return [];
  const pods = new Map(livePods(facts).map((pod) => [controllerOf(pod)?.uid, pod.metadata.labels ?? {}]));
  const policies = Map.groupBy(facts.lists.snapshotPolicies.items, ({ metadata }) => metadata.namespace);
  return facts.lists.sandboxes.items
    .filter((sandbox) => sandbox.metadata.labels?.[WARM_POOL_LABEL] === undefined && !isOver(sandbox))
    .filter((sandbox) => {
      const labels = pods.get(sandbox.metadata.uid) ?? labelsOfNextPod(sandbox);
      const here = policies.get(sandbox.metadata.namespace) ?? [];
      return !here.some(({ spec }) => spec.selector !== undefined && matchesLabels(spec.selector, labels));
    })
    .map((sandbox) => {
      const object = referenceTo(sandbox);
      return warning(
        object,
        'No PodSnapshotPolicy selects its pod: a pause would lose its memory.',
        `In namespace ${object.namespace}, let the selector of a PodSnapshotPolicy match a label of ${nameOf(object)}'s pod.`,
      );
    });
}

function judgeStorage({ lists }: Facts): Verdict[] {
  // The kind is of the cluster on GKE, of a namespace in the engine.
  const known = new Set(
    lists.snapshotStorageConfigs.items.map(({ metadata }) => placeOf(metadata.namespace, metadata.name)),
  );
  return lists.snapshotPolicies.items
    .filter(({ spec, metadata }) => {
      const name = spec.storageConfigName ?? '';
      return !known.has(placeOf(undefined, name)) && !known.has(placeOf(metadata.namespace, name));
    })
    .map((policy) => {
      const object = referenceTo(policy);
      const name = policy.spec.storageConfigName;
      return name === undefined
        ? failure(object, 'It names no storage.', `Set spec.storageConfigName in ${nameOf(object)}.`)
        : failure(
            object,
            `PodSnapshotStorageConfig ${name}, where its snapshots go, does not exist.`,
            `Create PodSnapshotStorageConfig ${name}, or correct spec.storageConfigName in ${nameOf(object)}.`,
          );
    });
}

function judgePaused(facts: Facts): Verdict[] {
  const { snapshots: taken, sandboxes } = facts.lists;
  if (taken.unread?.cause === 'forbidden') return [];
  const byHash = Map.groupBy(taken.items, (snapshot) =>
    placeOf(snapshot.metadata.namespace, snapshot.metadata.labels?.[NAME_HASH_LABEL]),
  );
  return sandboxes.items
    .filter((sandbox) => isPaused(sandbox) && !isOver(sandbox))
    .filter(({ metadata }) => metadata.annotations?.[SNAPSHOT_ANNOTATION] === undefined)
    .flatMap((sandbox) => {
      const own = byHash.get(placeOf(sandbox.metadata.namespace, nameHash(sandbox.metadata.name))) ?? [];
      return judgeNewest(sandbox, own, taken.unread === undefined);
    });
}

function judgeNewest(sandbox: Sandbox, own: readonly PodSnapshot[], served: boolean): Verdict[] {
  const object = referenceTo(sandbox);
  const newestFirst = own.toSorted((left, right) => createdAtMs(right) - createdAtMs(left));
  const ready = newestFirst.findIndex(isReady);
  if (ready === 0) return [];
  const newest = newestFirst[0];
  const older = newestFirst[ready];
  if (newest !== undefined && older !== undefined)
    return [
      warning(
        object,
        `Its newest snapshot is not Ready: it wakes from one of ${older.metadata.creationTimestamp}.`,
        `See why ${nameOf(referenceTo(newest))} failed, then wake ${nameOf(object)} and pause it again.`,
      ),
    ];
  const fix = `Wake ${nameOf(object)} and pause it with "sandbox-router pause", which waits for a snapshot where snapshots are served.`;
  if (!served) return [warning(object, 'It is paused without a snapshot: its wake starts cold.', fix)];
  const what = newest === undefined ? 'no snapshot of it exists' : `${nameOf(referenceTo(newest))} is not Ready`;
  return [failure(object, `It is paused, but ${what}: its wake starts cold.`, fix)];
}

function isReady({ status }: PodSnapshot): boolean {
  return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;
}

function createdAtMs({ metadata }: PodSnapshot): number {
  return Date.parse(metadata.creationTimestamp ?? '') || 0;
}

/** Key of something in a namespace, or in the cluster. */
function placeOf(namespace: string | undefined, name: string | undefined): string {
  return `${namespace ?? ''}/${name ?? ''}`;
}
