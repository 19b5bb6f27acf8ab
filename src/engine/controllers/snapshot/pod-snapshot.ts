import { createHash } from 'node:crypto';
import { ORIGIN_POD_ANNOTATION, type PodSnapshot } from '../../../kubernetes/index.ts';
import type { WantedCondition } from '../conditions.ts';
import type { PodSnapshotIdentity, SnapshotRecord } from '../pod/snapshots.ts';

/** Annotation on a PodSnapshot: `suspend` or `trigger`, why it was taken. */
export const CAUSE_ANNOTATION = 'sandbox-router/snapshot-cause';
/** Annotation on a PodSnapshot: UID of the trigger that asked for it. */
export const TRIGGER_ANNOTATION = 'sandbox-router/snapshot-trigger';
/** Annotation on a PodSnapshot: when it was taken, RFC 3339 with milliseconds. The object may be made later, and again after a crash. */
export const TAKEN_ANNOTATION = 'sandbox-router/snapshot-taken';

/** The object that stands for a snapshot; clients find it by the labels of its Pod (contract section 4.5). */
export function podSnapshotOf(identity: PodSnapshotIdentity): PodSnapshot {
  const { namespace, name, pod, labels, cause, trigger, takenAtMs, owner } = identity;
  return {
    apiVersion: 'podsnapshot.gke.io/v1',
    kind: 'PodSnapshot',
    metadata: {
      namespace,
      name,
      labels,
      annotations: {
        [ORIGIN_POD_ANNOTATION]: pod,
        [CAUSE_ANNOTATION]: cause,
        [TAKEN_ANNOTATION]: new Date(takenAtMs).toISOString(),
        ...(trigger === undefined ? {} : { [TRIGGER_ANNOTATION]: trigger }),
      },
      ...(owner === undefined ? {} : { ownerReferences: [owner] }),
    },
  };
}

/** Snapshots by when they were taken, the latest first; those of others, which do not say so, by when their objects were made. */
export function newestFirst(snapshots: readonly PodSnapshot[]): PodSnapshot[] {
  return snapshots
    .map((snapshot) => ({ snapshot, atMs: takenAtMs(snapshot), name: snapshot.metadata.name }))
    .sort((left, right) => right.atMs - left.atMs || (left.name < right.name ? -1 : 1))
    .map(({ snapshot }) => snapshot);
}

function takenAtMs({ metadata: { annotations, creationTimestamp = '' } }: PodSnapshot): number {
  return Date.parse(annotations?.[TAKEN_ANNOTATION] ?? creationTimestamp);
}

/** The parts of its status that never change. */
export function podSnapshotFacts(
  id: string,
  { compatibility }: SnapshotRecord,
  sizeBytes: number,
): Pick<NonNullable<PodSnapshot['status']>, 'storage' | 'compatibility'> {
  if (compatibility === undefined) return { storage: { id, sizeBytes } };
  const { runtime, cpuFeatures, image, templateRevision } = compatibility;
  const cpuFeaturesHash = createHash('sha256').update(cpuFeatures.join(' ')).digest('hex').slice(0, 16);
  return { storage: { id, sizeBytes }, compatibility: { runtime, cpuFeaturesHash, image, templateRevision } };
}

/** Whether it can be restored; `problem` says why not. */
export function readyCondition(problem: { reason: string; message: string } | undefined): WantedCondition {
  if (problem === undefined)
    return { type: 'Ready', status: 'True', reason: 'SnapshotTaken', message: 'The snapshot can be restored' };
  return { type: 'Ready', status: 'False', ...problem };
}
