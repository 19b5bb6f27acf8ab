import { isDeepStrictEqual } from 'node:util';
import {
  ApiError,
  isApiError,
  type ObjectKey,
  POD_NAME_ANNOTATION,
  PODS,
  type Pod,
  type ResourceClient,
  SANDBOXES,
  type Sandbox,
  SERVICES,
  type Service,
} from '../../../kubernetes/index.ts';
import { conditionOf } from '../conditions.ts';
import type { EventRecorder } from '../events.ts';
import { annotate, deleteIfThere, find } from './api.ts';
import { SnapshotChoiceError } from './choose-snapshot.ts';
import { createDrains } from './drains.ts';
import { ownershipOf } from './ownership.ts';
import { podNameOf } from './pod-for-sandbox.ts';
import { forgetSnapshot, hasOutlivedSnapshot, run } from './run.ts';
import { reconcileService } from './service.ts';
import { expiredStatus, type SandboxFindings, sandboxStatus, type Trouble } from './status.ts';
import { NOT_SUSPENDED, SUSPENSION_UNKNOWN, suspend } from './suspend.ts';
import { reconcileVolumeClaims } from './volume-claims.ts';

/** What reconciling a Sandbox needs. */
export interface SandboxReconcilerOptions {
  client: ResourceClient;
  /** Pods whose controller is this Sandbox, as last seen. */
  ownedPods(sandboxUid: string): Pod[];
  /** Whether whoever runs the Pods can checkpoint them; elsewhere suspending just deletes the Pod. */
  snapshots: boolean;
  /** Set on new Pods where no scheduler assigns them. */
  nodeName?: string | undefined;
  /** Said in every Sandbox's status where the runtime does not isolate. */
  notIsolated?: string | undefined;
  clusterDomain: string;
  now(): Date;
  /** Between the word that a Sandbox is to be suspended and its checkpoint. */
  drainMs: number;
  /** Asks for another pass later. */
  again(key: ObjectKey, delayMs: number): void;
  events: EventRecorder;
}

/** Failures of the API that pass by themselves: they are tried again, and say nothing of the Sandbox. */
const PASSING = ['Conflict', 'AlreadyExists', 'Unreachable', 'ServiceUnavailable', 'Timeout', 'TooManyRequests'];
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * One pass over one Sandbox (contract sections 2.2 to 2.6). With snapshots, suspending asks for a checkpoint first and writes its id on the
 * Sandbox before the Pod goes; the id leaves the Sandbox once a Pod restored from it is Ready, so that no old state ever comes back.
 */
export function createSandboxReconciler(options: SandboxReconcilerOptions): (key: ObjectKey) => Promise<void> {
  const { client, now, clusterDomain, notIsolated } = options;
  const drains = createDrains(options.drainMs);

  return async (key) => {
    const sandbox = await find<Sandbox>(client, SANDBOXES, key);
    if (sandbox === undefined || sandbox.metadata.deletionTimestamp !== undefined) return drains.forget(key);
    if (sandbox.spec.operatingMode !== 'Suspended') drains.forget(key);
    const { shutdownTime } = sandbox.spec;
    if (shutdownTime !== undefined) {
      const remainingMs = Date.parse(shutdownTime) - now().getTime();
      if (remainingMs <= 0) return await expire(sandbox);
      options.again(key, Math.min(Math.max(remainingMs, 2000), LONGEST_TIMER_MS));
    }
    const { failure, ...findings } = await reconcileChildren(sandbox);
    const status = sandboxStatus({ sandbox, clusterDomain, notIsolated, ...findings }, now());
    announce(sandbox, status);
    // The status first: whoever waits for a wake waits for it.
    const writes = [writeStatus(sandbox, status)];
    if (hasOutlivedSnapshot(sandbox, findings.pod)) writes.push(forgetSnapshot(client, sandbox));
    await Promise.all(writes);
    if (failure !== undefined) throw failure;
  };

  type Children = Pick<SandboxFindings, 'pod' | 'service' | 'suspended' | 'podTrouble' | 'trouble'>;

  /** Claims, Pod, Service, in that order. `failure` is what is to be tried again. */
  async function reconcileChildren(sandbox: Sandbox): Promise<Children & { failure?: unknown }> {
    const claims = await attempt(() => reconcileVolumeClaims(client, sandbox));
    const pod = await attempt(() => reconcilePod(sandbox));
    const multiple = pod.trouble?.reason === 'MultiplePods';
    // While it is not clear which Pod it would lead to, a Service is neither made nor changed.
    const service = multiple ? {} : await attempt(() => reconcileService(client, sandbox));
    const failure = claims.failure ?? pod.failure ?? service.failure;
    return {
      pod: pod.value?.pod,
      service: service.value,
      suspended:
        pod.value?.suspended ?? (sandbox.spec.operatingMode === 'Suspended' ? SUSPENSION_UNKNOWN : NOT_SUSPENDED),
      podTrouble: pod.trouble,
      trouble: pod.trouble ?? claims.trouble ?? service.trouble,
      ...(failure === undefined ? {} : { failure }),
    };
  }

  async function reconcilePod(sandbox: Sandbox): Promise<Pick<SandboxFindings, 'pod' | 'suspended'>> {
    const pod = await findPod(sandbox);
    if (sandbox.spec.operatingMode !== 'Suspended')
      return { suspended: NOT_SUSPENDED, pod: await run(sandbox, pod, options) };
    const step = await suspend(sandbox, pod, {
      ...options,
      again: (delayMs) => options.again(sandbox.metadata, delayMs),
      drainMs: () => drains.remainingMs(sandbox.metadata, sandbox.metadata.generation ?? 0),
    });
    if (step.pod === undefined) await clearPodName(sandbox);
    return step;
  }

  /** The Sandbox's Pod: the one of its name, or one that is its own under another name. @throws MultiplePodsError */
  async function findPod(sandbox: Sandbox): Promise<Pod | undefined> {
    const named = await find<Pod>(client, PODS, { ...sandbox.metadata, name: podNameOf(sandbox) });
    const others = options
      .ownedPods(sandbox.metadata.uid ?? '')
      .filter(({ metadata }) => metadata.name !== podNameOf(sandbox));
    const owned = named !== undefined && ownershipOf(named, sandbox) === 'ours' ? [named] : [];
    // What the watch saw may be gone by now.
    for (const { metadata } of others) {
      const found = await find<Pod>(client, PODS, metadata);
      if (found !== undefined && ownershipOf(found, sandbox) === 'ours') owned.push(found);
    }
    if (owned.length > 1) throw new MultiplePodsError(owned.length);
    if (named === undefined || (owned[0] !== undefined && owned[0] !== named)) await clearPodName(sandbox);
    return owned[0] ?? named;
  }

  async function clearPodName(sandbox: Sandbox): Promise<void> {
    if (sandbox.metadata.annotations?.[POD_NAME_ANNOTATION] !== undefined)
      await annotate(client, SANDBOXES, sandbox, { [POD_NAME_ANNOTATION]: null });
  }

  /** Contract section 2.6: first it is said, then everything but the data goes. */
  async function expire(sandbox: Sandbox): Promise<void> {
    const said = conditionOf(sandbox, 'Ready')?.reason === 'SandboxExpired';
    if (!said) {
      await writeStatus(sandbox, expiredStatus(sandbox, false, now()));
      options.again(sandbox.metadata, 1);
      return;
    }
    const pod = await find<Pod>(client, PODS, { ...sandbox.metadata, name: podNameOf(sandbox) });
    if (pod !== undefined && ownershipOf(pod, sandbox) === 'ours' && pod.metadata.deletionTimestamp === undefined)
      await deleteIfThere(client, PODS, pod);
    if (sandbox.status?.service !== undefined) {
      const service = await find<Service>(client, SERVICES, sandbox.metadata);
      if (service !== undefined && ownershipOf(service, sandbox) === 'ours')
        await deleteIfThere(client, SERVICES, service);
    }
    if (sandbox.spec.shutdownPolicy === 'Delete')
      await deleteIfThere(client, SANDBOXES, sandbox, { propagationPolicy: 'Background' });
    else await writeStatus(sandbox, expiredStatus(sandbox, true, now()));
  }

  async function writeStatus(sandbox: Sandbox, wanted: NonNullable<Sandbox['status']>): Promise<void> {
    const before = sandbox.status ?? {};
    const changes = Object.fromEntries(
      [...new Set([...Object.keys(before), ...Object.keys(wanted)] as (keyof typeof before)[])]
        .filter((field) => !isDeepStrictEqual(before[field], wanted[field]))
        .map((field) => [field, wanted[field] ?? null]),
    );
    if (Object.keys(changes).length === 0) return;
    try {
      const patch = { metadata: { uid: sandbox.metadata.uid }, status: changes };
      await client.patch(SANDBOXES, sandbox.metadata, patch, { type: 'merge', subresource: 'status' });
    } catch (error) {
      if (!isApiError(error, 'NotFound')) throw error;
    }
  }

  /** An Event for what a user should hear of, once each time that it comes about. */
  function announce(sandbox: Sandbox, status: NonNullable<Sandbox['status']>): void {
    for (const type of ['Ready', 'Suspended']) {
      const condition = conditionOf({ status }, type);
      const reason = condition?.reason ?? '';
      if (!['MultiplePods', 'SnapshotFailed', 'SnapshotRestoreFailed'].includes(reason)) continue;
      if (conditionOf(sandbox, type)?.reason !== reason) options.events.warn(sandbox, reason, condition?.message ?? '');
    }
  }
}

/** Several Pods are controlled by one Sandbox. */
class MultiplePodsError extends Error {
  readonly code = 'multiple_pods';

  constructor(count: number) {
    super(`multiple Pods (${count}) are controlled by this Sandbox; refusing to choose or create a Pod`);
  }
}

/** What came of a step: its value, or what went wrong, as the status says it and (`failure`) if it is to be tried again. */
async function attempt<T>(step: () => Promise<T>): Promise<{ value?: T; trouble?: Trouble; failure?: unknown }> {
  try {
    return { value: await step() };
  } catch (error) {
    if (error instanceof MultiplePodsError) return { trouble: { reason: 'MultiplePods', message: error.message } };
    if (error instanceof SnapshotChoiceError)
      return { trouble: { reason: 'SnapshotRestoreFailed', message: error.message } };
    if (error instanceof ApiError && PASSING.includes(error.code)) throw error;
    return { trouble: { reason: 'ReconcilerError', message: (error as Error).message }, failure: error };
  }
}
