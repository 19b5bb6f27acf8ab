import {
  CHECKPOINT_ANNOTATION,
  COLD_START_ANNOTATION,
  isApiError,
  PODS,
  type Pod,
  RESTORE_ANNOTATION,
  type ResourceClient,
  SANDBOXES,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
} from '../../../kubernetes/index.ts';
import { conditionOf } from '../conditions.ts';
import { annotate, deleteIfThere, find } from './api.ts';
import { chooseSnapshot } from './choose-snapshot.ts';
import { ownerReferenceTo, ownershipOf, requireAdoptable } from './ownership.ts';
import { type MetadataPatch, metadataDrift, podForSandbox } from './pod-for-sandbox.ts';
import { restoreFailure } from './status.ts';
import { isCheckpointed, keepSnapshot } from './suspend.ts';

/** What running needs. */
export interface RunDependencies {
  client: ResourceClient;
  snapshots: boolean;
  /** Set on new Pods where no scheduler assigns them. */
  nodeName?: string | undefined;
}

/**
 * One step towards a Sandbox whose Pod runs (contract sections 2.2, 2.5, 2.6). Resolves with its Pod. A Pod that is terminating is waited
 * for, one that ended for good is left. @throws OwnershipError for a Pod of that name that is not ours to use
 */
export async function run(sandbox: Sandbox, pod: Pod | undefined, dependencies: RunDependencies): Promise<Pod> {
  const { client, snapshots } = dependencies;
  if (pod === undefined) return await createPod(sandbox, dependencies);
  const ownership = ownershipOf(pod, sandbox);
  if (ownership !== 'ours') requireAdoptable(pod, sandbox);
  if (snapshots && ownership === 'ours') {
    // Woken in the middle of a pause that could not be stopped any more: complete it, and start from its snapshot.
    if (isCheckpointed(pod)) {
      const left = await keepSnapshot(client, sandbox, pod);
      if (left !== undefined) return left;
      const annotations = { ...sandbox.metadata.annotations, [SNAPSHOT_ANNOTATION]: pod.metadata.uid ?? '' };
      return await createPod({ ...sandbox, metadata: { ...sandbox.metadata, annotations } }, dependencies);
    }
    if (pod.metadata.deletionTimestamp === undefined && mayNowStartCold(sandbox, pod)) {
      await deleteIfThere(client, PODS, pod, { gracePeriodSeconds: 0 });
      return await createPod(sandbox, dependencies);
    }
  }
  return await bringIntoStep(client, sandbox, pod, ownership === 'ours');
}

/** Labels, annotations, ownership, and a checkpoint that is not wanted any more; one write, none when all is well. */
async function bringIntoStep(client: ResourceClient, sandbox: Sandbox, pod: Pod, ours: boolean): Promise<Pod> {
  const patch: MetadataPatch & { ownerReferences?: unknown } = metadataDrift(pod, sandbox);
  if (pod.metadata.annotations?.[CHECKPOINT_ANNOTATION] !== undefined)
    patch.annotations = { ...patch.annotations, [CHECKPOINT_ANNOTATION]: null };
  if (!ours) patch.ownerReferences = [...(pod.metadata.ownerReferences ?? []), ownerReferenceTo(sandbox)];
  if (Object.keys(patch).length === 0) return pod;
  const { uid } = pod.metadata;
  return await client.patch<Pod>(PODS, pod.metadata, { metadata: { uid, ...patch } }, { type: 'merge' });
}

async function createPod(sandbox: Sandbox, { client, snapshots, nodeName }: RunDependencies): Promise<Pod> {
  const restoreFrom = snapshots ? await chooseSnapshot(client, sandbox) : undefined;
  const pod = podForSandbox(sandbox, { restoreFrom, nodeName });
  try {
    return await client.create<Pod>(PODS, pod);
  } catch (error) {
    // Somebody was faster. If it is ours after all, the watch brings it.
    const found = isApiError(error, 'AlreadyExists') ? await find<Pod>(client, PODS, pod.metadata) : undefined;
    if (found === undefined) throw error;
    return found;
  }
}

/** The user allowed a cold start only after the Pod failed to be restored. */
function mayNowStartCold(sandbox: Sandbox, pod: Pod): boolean {
  const allows = ({ metadata }: Sandbox | Pod) => metadata.annotations?.[COLD_START_ANNOTATION] === 'allow';
  return restoreFailure(pod) !== undefined && allows(sandbox) && !allows(pod);
}

/**
 * Whether the Sandbox goes on beyond the snapshot in which it was suspended: a Pod that was restored, from that or from one that was named, is Ready. From
 * then on it is the past, and must not be restored again by itself.
 */
export function hasOutlivedSnapshot(sandbox: Sandbox, pod: Pod | undefined): boolean {
  const snapshot = sandbox.metadata.annotations?.[SNAPSHOT_ANNOTATION];
  return (
    snapshot !== undefined &&
    pod?.metadata.uid !== snapshot &&
    pod?.metadata.annotations?.[RESTORE_ANNOTATION] !== undefined &&
    conditionOf(pod, 'Ready')?.status === 'True'
  );
}

/** Takes the snapshot off the Sandbox. */
export async function forgetSnapshot(client: ResourceClient, sandbox: Sandbox): Promise<void> {
  await annotate(client, SANDBOXES, sandbox, { [SNAPSHOT_ANNOTATION]: null });
}
