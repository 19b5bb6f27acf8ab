import { randomBytes } from 'node:crypto';
import { type Pod, WARM_POOL_LABEL } from '../../../kubernetes/index.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import type { PodSnapshotIdentity, SnapshotRecord } from './snapshots.ts';

/** A Pod of which no snapshot can be taken now. */
export class SnapshotRefusedError extends Error {
  readonly code = 'snapshot_refused';
}

/** What happened to a snapshot that a PodSnapshot stands for: it was `taken`, or a Pod restored from it is Ready and goes on (`outlived`). */
export interface PodSnapshotChange {
  change: 'taken' | 'outlived';
  id: string;
  record: SnapshotRecord;
  sizeBytes: number;
}

/** Longest name of a Pod in the name of its snapshots. */
const MOST_NAME_LENGTH = 40;
const LATEST_MS = 2 ** 44;

/** What the PodSnapshot of a snapshot taken now will be. */
export function podSnapshotIdentity(pod: Pod, cause: PodSnapshotIdentity['cause'], now: Date): PodSnapshotIdentity {
  const { namespace = '', name, labels = {} } = pod.metadata;
  const { [WARM_POOL_LABEL]: _, ...kept } = labels;
  const owner = controllerOf(pod);
  return {
    namespace,
    name: snapshotName(name, now.getTime()),
    pod: name,
    labels: kept,
    cause,
    takenAtMs: now.getTime(),
    ...(owner?.kind === 'Sandbox' ? { owner: { ...owner, controller: false, blockOwnerDeletion: false } } : {}),
  };
}

/**
 * Names of a Pod's snapshots sort from the newest to the oldest: creation times have seconds only, and clients (the Python SDK) take the first of a list
 * for the latest where these are equal.
 */
export function snapshotName(pod: string, takenAtMs: number): string {
  const rank = (LATEST_MS - takenAtMs).toString(16).padStart(11, '0');
  return `${pod.slice(0, MOST_NAME_LENGTH).replace(/[.-]+$/, '')}-${rank}-${randomBytes(2).toString('hex')}`;
}
