import {
  type Pod,
  type PodSnapshot,
  RESTORE_ANNOTATION,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
} from '../../../kubernetes/index.ts';
import type { SandboxNetwork } from '../../network/index.ts';
import type { ContainerIds, ContainerRuntime } from '../../runtime/index.ts';
import type { ObjectCache } from '../object-cache.ts';
import { type LocalPod, localKey } from './local-pods.ts';
import type { PodRecord, PodRecords } from './pod-record.ts';
import type { PodRunner } from './pod-runner.ts';
import { hibernationId, isTemplateSnapshot, type SnapshotDirectory, seedSnapshotId } from './snapshots.ts';
import { CONTAINER_STATUS_UNKNOWN } from './status.ts';

/** What recovery looks at. */
export interface RecoveryOptions {
  pods: ObjectCache<Pod>;
  sandboxes: ObjectCache<Sandbox>;
  locals: Map<string, LocalPod>;
  runner: PodRunner;
  records: PodRecords;
  snapshots: SnapshotDirectory;
  runtime: ContainerRuntime;
  network: SandboxNetwork;
  containers: ContainerIds;
  podSnapshots: PodSnapshot[];
  /** Puts a snapshot into the API. */
  publish(id: string): Promise<void>;
  failed(what: string, error: unknown): void;
  /** Does something for a Pod after a while, with nobody else at work on it. */
  later(local: LocalPod, work: () => Promise<void>): void;
}

/** Pods that are looked at at once. */
const CONCURRENCY = 8;

/**
 * Compares what the API says with what is on the machine after an engine that ended in any way: containers that run are followed again, checkpoints that
 * went on are completed, hibernated Pods and lost ones are left to be started, and what belongs to no Pod is removed.
 */
export async function recoverPods(options: RecoveryOptions): Promise<void> {
  const { pods, locals, runner, records, runtime, network, containers } = options;
  const byUid = new Map([...pods.values()].map((pod) => [pod.metadata.uid, pod]));
  const known = new Set<string>();
  const found: { pod: Pod; local: LocalPod; record: PodRecord }[] = [];
  for (const record of records.all()) {
    const pod = byUid.get(record.uid);
    if (pod === undefined) {
      records.remove(record.uid);
      continue;
    }
    const local = runner.adopt(pod, record);
    for (const id of [record.containerId, ...(local.members ?? []).map((member) => member.id)]) known.add(id);
    locals.set(record.uid, local);
    containers.set(record.uid, record.containerId);
    if (record.address !== '') network.adopt(record.containerId, record.address);
    found.push({ pod, local, record });
  }
  // Most of the time is spent in waiting for the runtime's answers.
  const waiting = found.values();
  const worker = async () => {
    for (const { pod, local, record } of waiting) await recoverOrLater(pod, local, record, options);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  for (const id of await runtime.list()) if (!known.has(id)) await runtime.stop(id, 0);
  for (const id of await network.list()) if (!known.has(id)) await network.detach(id);
  for (const { metadata } of options.sandboxes.values()) {
    const suspendedIn = metadata.annotations?.[SNAPSHOT_ANNOTATION];
    const address = suspendedIn === undefined ? undefined : options.snapshots.recordOf(suspendedIn)?.address;
    if (suspendedIn !== undefined && address) network.reserve(suspendedIn, address);
  }
  runner.sweep((uid) => byUid.has(uid));
  await discardUnused(options);
}

/** A container may be running of which that could not be found out: it is left alone, and looked at again. */
async function recoverOrLater(pod: Pod, local: LocalPod, record: PodRecord, options: RecoveryOptions): Promise<void> {
  try {
    await recoverOne(pod, local, record, options);
  } catch (error) {
    options.failed(`pod ${localKey(local)}`, error);
    local.container = { phase: 'waiting', reason: CONTAINER_STATUS_UNKNOWN, message: (error as Error).message };
    options.later(local, async () => {
      if (options.locals.get(record.uid) === local) await recoverOrLater(pod, local, record, options);
    });
  }
}

async function recoverOne(pod: Pod, local: LocalPod, record: PodRecord, options: RecoveryOptions): Promise<void> {
  const { runner, snapshots, runtime, network } = options;
  const state = await runtime.state(record.containerId);
  // A checkpoint goes on without the engine: only its end tells whether the container or the snapshot is what is left.
  for (const snapshot of [seedSnapshotId(pod) ?? record.uid, hibernationId(record.uid)]) {
    if (!snapshots.begun(snapshot)) continue;
    if (state.state === 'running' && snapshot === hibernationId(record.uid) && snapshots.exists(snapshot)) {
      await snapshots.discard(snapshot);
      continue;
    }
    await runner.checkpoint(pod, local, snapshot);
    if (local.container.phase === 'waiting') break;
    if (snapshot === hibernationId(record.uid) && snapshots.exists(snapshot)) {
      delete local.checkpoint;
      local.stopping = false;
      local.container = { phase: 'waiting', reason: 'Hibernated' };
    }
    return;
  }
  // A copy that was not told yet that it is one.
  const halfCopied =
    record.startedAt === undefined && isTemplateSnapshot(pod.metadata.annotations?.[RESTORE_ANNOTATION] ?? '');
  const stop = async () => {
    for (const member of local.members ?? []) await runtime.stop(member.id, 0);
    await runtime.stop(record.containerId, 0);
  };
  if (halfCopied) await stop();
  else if (state.state === 'running') {
    await network.open(record.containerId);
    runner.foundRunning(pod, local);
    await Promise.race([runner.followAgain(pod, local), new Promise((resolve) => setTimeout(resolve, 1000).unref())]);
    return;
  }
  // Killed while it was starting: what there is of it would be in the way of another start.
  if (record.startedAt === undefined) await stop();
  await network.detach(record.containerId);
  if (!runtime.durableSnapshots && state.state === 'missing') return;
  if (record.startedAt !== undefined) await runner.ended(pod, local, state.state === 'exited' ? state.exitCode : 137);
}

/** Ids of snapshots that a Sandbox will wake from, a Pod is being stopped into or restored from, or lies in while the engine is stopped. */
export function snapshotsInUse(
  sandboxes: Iterable<Sandbox>,
  pods: Iterable<Pod>,
  phaseOf: (podUid: string) => LocalPod['container']['phase'] | undefined,
): Set<string> {
  const used = new Set<string | undefined>();
  for (const sandbox of sandboxes) used.add(sandbox.metadata.annotations?.[SNAPSHOT_ANNOTATION]);
  for (const { metadata } of pods) {
    const { uid = '', annotations } = metadata;
    used.add(uid).add(hibernationId(uid));
    // What runs, or was stopped into a snapshot of its own, has no more use for the one it came from.
    if (!['running', 'stopped-for-snapshot'].includes(phaseOf(uid) ?? '')) used.add(annotations?.[RESTORE_ANNOTATION]);
  }
  used.delete(undefined);
  return used as Set<string>;
}

/** Removes snapshots that nobody uses and no PodSnapshot stands for. */
async function discardUnused({
  sandboxes,
  pods,
  snapshots,
  locals,
  podSnapshots,
  publish,
}: RecoveryOptions): Promise<void> {
  const used = snapshotsInUse(sandboxes.values(), pods.values(), (uid) => locals.get(uid)?.container.phase);
  const published = new Map(podSnapshots.map(({ metadata, status }) => [status?.storage?.id, metadata]));
  for (const id of snapshots.list()) {
    // A record without data, or data that was being removed: of no use to whoever still names it.
    if (!snapshots.begun(id)) {
      await snapshots.discard(id);
      continue;
    }
    // What becomes of these depends on templates and pools.
    if (isTemplateSnapshot(id)) continue;
    const identity = snapshots.recordOf(id)?.podSnapshot;
    const object = published.get(id);
    const stands = identity !== undefined && identity.name === object?.name && identity.namespace === object.namespace;
    if (!stands && !used.has(id)) await snapshots.discard(id);
    else if (!stands && identity !== undefined && snapshots.exists(id)) await publish(id);
  }
}
