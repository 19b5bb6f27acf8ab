import { isDeepStrictEqual } from 'node:util';
import {
  CHECKPOINT_ANNOTATION,
  CHECKPOINTED_CONDITION,
  type Condition,
  isApiError,
  type ObjectKey,
  PODS,
  type Pod,
  RESTORE_ANNOTATION,
  type ResourceClient,
  SANDBOXES,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
} from '../../../kubernetes/index.ts';
import { mergeConditions } from '../conditions.ts';
import { isOwnedBy, podForSandbox, podNameOf } from './pod-for-sandbox.ts';
import { type SuspendedState, sandboxStatus } from './status.ts';

/** What reconciling a Sandbox needs. */
export interface SandboxReconcilerOptions {
  client: ResourceClient;
  /** Pods whose controller is this Sandbox, as last seen. */
  ownedPods(sandboxUid: string): Pod[];
  /** Whether whoever runs the Pods can checkpoint them; elsewhere suspending just deletes the Pod. */
  snapshots: boolean;
  /** Set on new Pods where no scheduler assigns them. */
  nodeName?: string | undefined;
  now(): Date;
  /** Asks for another pass later. */
  again(key: ObjectKey, delayMs: number): void;
}

const NOT_SUSPENDED: SuspendedState = { status: 'False', reason: 'NotSuspended', message: 'Sandbox is not suspended' };
const TERMINATED: SuspendedState = { status: 'True', reason: 'PodTerminated', message: 'Pod is terminated' };
const TERMINATING: SuspendedState = { status: 'False', reason: 'PodTerminating', message: 'Pod is terminating' };

/**
 * One pass over one Sandbox (contract sections 2.2 to 2.6). With snapshots, suspending asks for a checkpoint first and writes its id on the Sandbox before the
 * Pod goes; the id leaves the Sandbox once a Pod restored from it is Ready, so that no old state ever comes back.
 */
export function createSandboxReconciler(options: SandboxReconcilerOptions): (key: ObjectKey) => Promise<void> {
  const { client } = options;

  return async (key) => {
    const sandbox = await find<Sandbox>(client, SANDBOXES, key);
    if (sandbox === undefined || sandbox.metadata.deletionTimestamp !== undefined) return;
    const expired = await expire(sandbox);
    if (expired === 'deleted') return;
    const pod = await find<Pod>(client, PODS, { ...key, name: podNameOf(sandbox) });
    const multiplePods = options.ownedPods(sandbox.metadata.uid ?? '').length > 1;
    const findings = { sandbox, pod, suspended: NOT_SUSPENDED, multiplePods, expired };
    if (expired) {
      if (pod !== undefined && isOwnedBy(pod, sandbox)) await deletePod(pod);
    } else if (sandbox.spec.operatingMode === 'Suspended') {
      findings.suspended = await suspend(sandbox, pod);
      if (findings.suspended.status === 'True') findings.pod = undefined;
    } else if (!multiplePods) {
      findings.pod = await run(sandbox, pod);
    }
    await writeStatus(findings);
  };

  async function suspend(sandbox: Sandbox, pod: Pod | undefined): Promise<SuspendedState> {
    if (pod === undefined) return TERMINATED;
    if (!isOwnedBy(pod, sandbox))
      return {
        status: 'False',
        reason: 'PodNotOwned',
        message: `Pod ${pod.metadata.name} belongs to something else and is left alone`,
      };
    if (pod.metadata.deletionTimestamp !== undefined) return TERMINATING;
    if (!options.snapshots || pod.status?.phase !== 'Running' || !hasRunningContainer(pod)) {
      if (checkpointed(pod)?.status === 'True') return await keepSnapshotAndDelete(sandbox, pod);
      await deletePod(pod);
      return TERMINATING;
    }
    const outcome = checkpointed(pod);
    if (outcome?.status === 'True') return await keepSnapshotAndDelete(sandbox, pod);
    if (outcome?.status === 'False')
      return { status: 'False', reason: 'SnapshotFailed', message: outcome.message ?? 'The snapshot failed' };
    if (pod.metadata.annotations?.[CHECKPOINT_ANNOTATION] === undefined)
      await annotate(pod, { [CHECKPOINT_ANNOTATION]: pod.metadata.uid ?? '' });
    return TERMINATING;
  }

  /** The Sandbox must name the snapshot before the Pod goes: from then on nothing else does. */
  async function keepSnapshotAndDelete(sandbox: Sandbox, pod: Pod): Promise<SuspendedState> {
    const snapshot = pod.metadata.uid ?? '';
    if (sandbox.metadata.annotations?.[SNAPSHOT_ANNOTATION] !== snapshot)
      await annotate(sandbox, { [SNAPSHOT_ANNOTATION]: snapshot });
    await deletePod(pod, 0);
    const left = await find<Pod>(client, PODS, pod.metadata);
    return left === undefined ? TERMINATED : TERMINATING;
  }

  async function run(sandbox: Sandbox, pod: Pod | undefined): Promise<Pod | undefined> {
    if (pod === undefined) return await createPod(sandbox);
    if (!isOwnedBy(pod, sandbox) || pod.metadata.deletionTimestamp !== undefined) return pod;
    const outcome = checkpointed(pod);
    if (outcome?.status === 'True') {
      // Woken in the middle of a pause that could not be stopped any more: the pause is completed, and the next pass starts from its snapshot.
      await keepSnapshotAndDelete(sandbox, pod);
      options.again(sandbox.metadata, 0);
      return undefined;
    }
    if (pod.metadata.annotations?.[CHECKPOINT_ANNOTATION] !== undefined)
      await annotate(pod, { [CHECKPOINT_ANNOTATION]: null });
    const snapshot = sandbox.metadata.annotations?.[SNAPSHOT_ANNOTATION];
    if (snapshot !== undefined && isReady(pod)) {
      if (pod.metadata.annotations?.[RESTORE_ANNOTATION] === snapshot)
        await annotate(sandbox, { [SNAPSHOT_ANNOTATION]: null });
    }
    return pod;
  }

  async function createPod(sandbox: Sandbox): Promise<Pod | undefined> {
    const restoreFrom = options.snapshots ? sandbox.metadata.annotations?.[SNAPSHOT_ANNOTATION] : undefined;
    try {
      return await client.create<Pod>(PODS, podForSandbox(sandbox, { restoreFrom, nodeName: options.nodeName }));
    } catch (error) {
      if (!isApiError(error, 'AlreadyExists')) throw error;
      options.again(sandbox.metadata, 100);
      return undefined;
    }
  }

  /** Contract section 2.6. True while expired; `deleted` when the Sandbox itself went. */
  async function expire(sandbox: Sandbox): Promise<boolean | 'deleted'> {
    const { shutdownTime, shutdownPolicy } = sandbox.spec;
    if (shutdownTime === undefined) return false;
    const remainingMs = Date.parse(shutdownTime) - options.now().getTime();
    if (remainingMs > 0) {
      options.again(sandbox.metadata, Math.min(Math.max(remainingMs, 2000), 2 ** 31 - 1));
      return false;
    }
    if (shutdownPolicy !== 'Delete') return true;
    await client.delete(SANDBOXES, sandbox.metadata, {
      uid: sandbox.metadata.uid ?? '',
      propagationPolicy: 'Background',
    });
    return 'deleted';
  }

  async function deletePod(pod: Pod, gracePeriodSeconds?: number): Promise<void> {
    if (pod.metadata.deletionTimestamp !== undefined) return;
    const grace = gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds };
    try {
      await client.delete(PODS, pod.metadata, { uid: pod.metadata.uid ?? '', ...grace });
    } catch (error) {
      if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) throw error;
    }
  }

  async function annotate(object: Sandbox | Pod, annotations: Record<string, string | null>): Promise<void> {
    const type = object.kind === 'Pod' ? PODS : SANDBOXES;
    await client.patch(type, object.metadata, { metadata: { annotations } }, { type: 'merge' });
  }

  async function writeStatus(findings: Parameters<typeof sandboxStatus>[0]): Promise<void> {
    const { sandbox } = findings;
    const { conditions, rest } = sandboxStatus(findings);
    const before = sandbox.status;
    const merged = mergeConditions(before?.conditions, conditions, options.now());
    const wanted = { ...rest, conditions: merged };
    const current = {
      selector: before?.selector,
      podIPs: before?.podIPs,
      nodeName: before?.nodeName,
      conditions: before?.conditions,
    };
    if (same(current, { podIPs: undefined, nodeName: undefined, ...wanted })) return;
    const status = { podIPs: null, nodeName: null, ...wanted };
    try {
      await client.patch(SANDBOXES, sandbox.metadata, { status }, { type: 'merge', subresource: 'status' });
    } catch (error) {
      if (!isApiError(error, 'NotFound')) throw error;
    }
  }
}

function checkpointed(pod: Pod): Condition | undefined {
  return pod.status?.conditions?.find(({ type }) => type === CHECKPOINTED_CONDITION);
}

function hasRunningContainer(pod: Pod): boolean {
  return pod.status?.containerStatuses?.some(({ state }) => state?.running !== undefined) === true;
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
}

function same(left: Record<string, unknown>, right: Record<string, unknown>): boolean {
  return isDeepStrictEqual(JSON.parse(JSON.stringify(left)), JSON.parse(JSON.stringify(right)));
}

async function find<T extends Sandbox | Pod>(
  client: ResourceClient,
  type: typeof PODS,
  key: ObjectKey,
): Promise<T | undefined> {
  try {
    const namespace = key.namespace === undefined ? {} : { namespace: key.namespace };
    return await client.get<T>(type, { ...namespace, name: key.name });
  } catch (error) {
    if (isApiError(error, 'NotFound')) return undefined;
    throw error;
  }
}
