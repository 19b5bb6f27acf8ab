import { randomBytes } from 'node:crypto';
import {
  NAME_HASH_LABEL,
  nameHash,
  objectWhen,
  POD_SNAPSHOT_MANUAL_TRIGGERS,
  type PodSnapshotManualTrigger,
  type ResourceClient,
} from '../../../kubernetes/index.ts';

/** Longest wait for a snapshot, as the SDK has it (contract section 4.5). */
const SNAPSHOT_TIMEOUT_MS = 180_000;

/** The platform could not take a snapshot. */
export class SnapshotError extends Error {
  readonly code = 'snapshot_failed';
}

/** A Pod to be snapshot. */
interface Target {
  namespace: string;
  name: string;
}

/**
 * Takes a snapshot of a Pod by a PodSnapshotManualTrigger and waits until it is complete (contract section 4.5). Resolves with the snapshot's name.
 * A trigger that nobody waits for any more, as its router ended in the middle, is taken back first: nobody can tell whether what it asked for is older than
 * the latest use. Triggers of complete snapshots are removed only after the next: whether a snapshot goes with its trigger is the platform's secret.
 * @throws SnapshotError with the platform's reason, or after three minutes
 */
export async function takePodSnapshot(
  client: ResourceClient,
  pod: Target,
  now: Date,
  timeoutMs = SNAPSHOT_TIMEOUT_MS,
): Promise<string> {
  const stamp = now
    .toISOString()
    .replace(/[-:]|\..*/g, '')
    .replace('T', '-');
  const name = `${pod.name.slice(0, 38)}-${stamp}-${randomBytes(4).toString('hex')}`;
  await removeTriggers(client, pod, (trigger) => !isEnded(trigger));
  const created = await client.create<PodSnapshotManualTrigger>(POD_SNAPSHOT_MANUAL_TRIGGERS, {
    apiVersion: 'podsnapshot.gke.io/v1',
    kind: 'PodSnapshotManualTrigger',
    metadata: { namespace: pod.namespace, name, labels: labelsOf(pod) },
    spec: { targetPod: pod.name },
  });
  try {
    const snapshot = await completed(client, created, timeoutMs);
    await removeTriggers(client, pod, ({ metadata }) => metadata.name !== name);
    return snapshot;
  } catch (error) {
    await removeTriggers(client, pod, ({ metadata }) => metadata.name === name);
    throw error;
  }
}

async function completed(
  client: ResourceClient,
  created: PodSnapshotManualTrigger,
  timeoutMs: number,
): Promise<string> {
  const { namespace = '', name } = created.metadata;
  const wait = { accepts: isEnded, signal: AbortSignal.timeout(timeoutMs), known: created };
  const { object, outcome } = await objectWhen(client, POD_SNAPSHOT_MANUAL_TRIGGERS, { namespace, name }, wait);
  if (outcome === 'deleted') throw new SnapshotError(`trigger ${name} was deleted before it was complete`);
  if (outcome === 'aborted') throw new SnapshotError(`trigger ${name} was not complete within ${timeoutMs / 1000} s`);
  const triggered = conditionOf(object);
  if (triggered?.status === 'True') return object.status?.snapshotCreated?.name ?? '';
  throw new SnapshotError(`${triggered?.reason}: ${triggered?.message ?? 'no message'}`);
}

function conditionOf({ status }: PodSnapshotManualTrigger) {
  return status?.conditions?.find(({ type }) => type === 'Triggered');
}

/** Whether the platform has said its last word on a trigger. */
function isEnded(trigger: PodSnapshotManualTrigger): boolean {
  const { status, reason } = conditionOf(trigger) ?? {};
  return (
    (status === 'True' && reason === 'Complete') || (status === 'False' && (reason === 'Failed' || reason === 'Error'))
  );
}

/** Our own triggers of a Pod; others' are theirs. What can't be removed is removed after the next snapshot. */
async function removeTriggers(
  client: ResourceClient,
  pod: Target,
  which: (trigger: PodSnapshotManualTrigger) => boolean,
): Promise<void> {
  const labelSelector = Object.entries(labelsOf(pod))
    .map(([label, value]) => `${label}=${value}`)
    .join(',');
  const found = await client
    .list<PodSnapshotManualTrigger>(POD_SNAPSHOT_MANUAL_TRIGGERS, { namespace: pod.namespace, labelSelector })
    .catch(() => ({ items: [] }));
  for (const trigger of found.items) {
    const { name, resourceVersion } = trigger.metadata;
    // Only as it was seen: one that has completed meanwhile is left.
    const fence = resourceVersion === undefined ? {} : { resourceVersion };
    if (which(trigger))
      await client.delete(POD_SNAPSHOT_MANUAL_TRIGGERS, { namespace: pod.namespace, name }, fence).catch(() => {});
  }
}

function labelsOf(pod: Target): Record<string, string> {
  return { [NAME_HASH_LABEL]: nameHash(pod.name), 'app.kubernetes.io/managed-by': 'sandbox-router' };
}
