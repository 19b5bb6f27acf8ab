import { randomBytes } from 'node:crypto';
import {
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

/**
 * Takes a snapshot of a Pod by a PodSnapshotManualTrigger and waits until it is complete (contract section 4.5). Resolves with the snapshot's name.
 * @throws SnapshotError with the platform's reason, or after three minutes
 */
export async function takePodSnapshot(
  client: ResourceClient,
  pod: { namespace: string; name: string },
  now: Date,
  timeoutMs = SNAPSHOT_TIMEOUT_MS,
): Promise<string> {
  const stamp = now
    .toISOString()
    .replace(/[-:]|\..*/g, '')
    .replace('T', '-');
  const name = `${pod.name.slice(0, 38)}-${stamp}-${randomBytes(4).toString('hex')}`;
  const created = await client.create<PodSnapshotManualTrigger>(POD_SNAPSHOT_MANUAL_TRIGGERS, {
    apiVersion: 'podsnapshot.gke.io/v1',
    kind: 'PodSnapshotManualTrigger',
    metadata: { namespace: pod.namespace, name },
    spec: { targetPod: pod.name },
  });
  const events = client.watch<PodSnapshotManualTrigger>(POD_SNAPSHOT_MANUAL_TRIGGERS, {
    namespace: pod.namespace,
    fieldSelector: `metadata.name=${name}`,
    resourceVersion: created.metadata.resourceVersion ?? '',
    signal: AbortSignal.timeout(timeoutMs),
  });
  for await (const { type, object } of events) {
    if (type === 'BOOKMARK') continue;
    if (type === 'DELETED') break;
    const triggered = object.status?.conditions?.find((condition) => condition.type === 'Triggered');
    if (triggered?.status === 'True' && triggered.reason === 'Complete')
      return object.status?.snapshotCreated?.name ?? '';
    if (triggered?.status === 'False' && (triggered.reason === 'Failed' || triggered.reason === 'Error'))
      throw new SnapshotError(`${triggered.reason}: ${triggered.message ?? 'no message'}`);
  }
  throw new SnapshotError(`trigger ${name} was not complete within ${timeoutMs / 1000} s`);
}
