import {
  CHECKPOINT_ANNOTATION,
  CHECKPOINTED_CONDITION,
  PODS,
  type Pod,
  RESTORE_ANNOTATION,
  type ResourceClient,
  SANDBOXES,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
} from '../../../kubernetes/index.ts';
import { conditionOf } from '../conditions.ts';
import { CONTAINER_STATUS_UNKNOWN } from '../pod/status.ts';
import { annotate, deleteIfThere, find } from './api.ts';
import { ownershipOf } from './ownership.ts';
import type { SuspendedState } from './status.ts';

/** The Sandbox is to run. */
export const NOT_SUSPENDED: SuspendedState = {
  status: 'False',
  reason: 'NotSuspended',
  message: 'Sandbox is not suspended',
};
/** What the state of several Pods, or of none that could be read, says of a suspension. */
export const SUSPENSION_UNKNOWN: SuspendedState = {
  status: 'Unknown',
  reason: 'PodStateUnknown',
  message: 'Pod state is unknown. Sandbox suspension cannot be confirmed',
};
const TERMINATED: SuspendedState = {
  status: 'True',
  reason: 'PodTerminated',
  message: 'Pod has been terminated. Sandbox is suspended',
};
const TERMINATING: SuspendedState = {
  status: 'False',
  reason: 'PodTerminating',
  message: 'Pod is terminating. Sandbox is suspending',
};
const NOT_OWNED: SuspendedState = {
  status: 'False',
  reason: 'PodNotOwned',
  message: 'Refused to delete pod because it is not owned by this sandbox',
};

/** A snapshot that failed is tried again after this time, or at once when the Sandbox's spec changes. */
export const SNAPSHOT_RETRY_MS = 60_000;

/** What suspending needs. `again` asks for another pass after a delay. */
export interface SuspendDependencies {
  client: ResourceClient;
  /** Whether whoever runs the Pods can checkpoint them; elsewhere suspending just deletes the Pod. */
  snapshots: boolean;
  now(): Date;
  again(delayMs: number): void;
  /** How long this suspension is yet to wait, in milliseconds, for whoever has requests under way to call it off. */
  drainMs(): number;
}

/** What a step of a suspension led to; `pod` is the Pod that is left. */
export interface SuspendStep {
  suspended: SuspendedState;
  pod: Pod | undefined;
}

/**
 * One step towards a Sandbox without a Pod (contract section 2.5). With snapshots: ask for a checkpoint, write its id on the Sandbox, and
 * only then delete the Pod. A failed checkpoint leaves the Pod running; the annotation that asked for it carries the generation for which
 * it was asked, so that an old failure is never taken for the answer to a new request.
 */
export async function suspend(
  sandbox: Sandbox,
  pod: Pod | undefined,
  dependencies: SuspendDependencies,
): Promise<SuspendStep> {
  const { client, snapshots, now, again, drainMs } = dependencies;
  if (pod === undefined) return { suspended: TERMINATED, pod };
  if (ownershipOf(pod, sandbox) !== 'ours') return { suspended: NOT_OWNED, pod };
  if (snapshots && isCheckpointed(pod)) {
    const left = await keepSnapshot(client, sandbox, pod);
    return { suspended: left === undefined ? TERMINATED : TERMINATING, pod: left };
  }
  const terminating = { suspended: TERMINATING, pod };
  if (pod.metadata.deletionTimestamp !== undefined) return terminating;
  if (snapshots && (isBeingRestored(pod) || isUnclear(pod))) return terminating;
  if (!snapshots || !isWorthKeeping(pod)) {
    await deleteIfThere(client, PODS, pod);
    return terminating;
  }
  const outcome = conditionOf(pod, CHECKPOINTED_CONDITION);
  // It is being taken.
  if (outcome?.status === 'Unknown') return terminating;
  const failure = outcome;
  const asked = pod.metadata.annotations?.[CHECKPOINT_ANNOTATION];
  const request = String(sandbox.metadata.generation ?? 0);
  if (asked === undefined) {
    const waitMs = drainMs();
    if (waitMs > 0) {
      again(waitMs);
      return terminating;
    }
    // An old failure that still stands there would be taken for the answer: wait until the Pod's controller has taken it away.
    if (failure === undefined) await annotate(client, PODS, pod, { [CHECKPOINT_ANNOTATION]: request });
    return terminating;
  }
  if (failure === undefined) return terminating;
  const failedAtMs = Date.parse(failure.lastTransitionTime ?? '') || now().getTime();
  const retryInMs = asked === request ? failedAtMs + SNAPSHOT_RETRY_MS - now().getTime() : 0;
  if (retryInMs <= 0) {
    await annotate(client, PODS, pod, { [CHECKPOINT_ANNOTATION]: null });
    return terminating;
  }
  again(retryInMs);
  const message = failure.message ?? 'The snapshot failed';
  return { suspended: { status: 'False', reason: 'SnapshotFailed', message }, pod };
}

/** Whether the Pod's processes lie in a snapshot and nothing of it runs any more. */
export function isCheckpointed(pod: Pod): boolean {
  return conditionOf(pod, CHECKPOINTED_CONDITION)?.status === 'True';
}

/**
 * Completes a pause: the Sandbox must name the snapshot before the Pod goes, for from then on nothing else does. Resolves with the Pod if
 * it is still there.
 */
export async function keepSnapshot(client: ResourceClient, sandbox: Sandbox, pod: Pod): Promise<Pod | undefined> {
  const snapshot = pod.metadata.uid ?? '';
  if (sandbox.metadata.annotations?.[SNAPSHOT_ANNOTATION] !== snapshot)
    await annotate(client, SANDBOXES, sandbox, { [SNAPSHOT_ANNOTATION]: snapshot });
  // Nothing is left to end in an orderly way.
  await deleteIfThere(client, PODS, pod, { gracePeriodSeconds: 0 });
  const left = await find<Pod>(client, PODS, pod.metadata);
  return left?.metadata.uid === pod.metadata.uid ? left : undefined;
}

/**
 * Until the status of a restored Pod says what became of it, its processes may run already, and have answered on a connection that slept: deleted now, what they
 * did since their snapshot would be lost. Its status comes, from the next engine if not from this one.
 */
function isBeingRestored({ metadata, status }: Pod): boolean {
  if (metadata.annotations?.[RESTORE_ANNOTATION] === undefined) return false;
  const states = status?.containerStatuses ?? [];
  return states.every(({ state }) => state?.waiting?.reason === 'ContainerCreating');
}

/** It may run; the engine looks again. */
function isUnclear({ status }: Pod): boolean {
  return status?.containerStatuses?.some(({ state }) => state?.waiting?.reason === CONTAINER_STATUS_UNKNOWN) === true;
}

/** A Pod that did not start yet, or whose container crashed, has nothing that a snapshot could keep. */
function isWorthKeeping({ status }: Pod): boolean {
  return status?.phase === 'Running' && status.containerStatuses?.some(({ state }) => state?.running) === true;
}
