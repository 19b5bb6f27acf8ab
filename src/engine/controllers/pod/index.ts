import { randomUUID } from 'node:crypto';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  CHECKPOINT_ANNOTATION,
  isApiError,
  MIRROR_ANNOTATION,
  POD_SNAPSHOTS,
  PODS,
  type Pod,
  type PodSnapshot,
  type ResourceClient,
  SANDBOXES,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
} from '../../../kubernetes/index.ts';
import type { ImageStore } from '../../images/index.ts';
import type { SandboxNetwork } from '../../network/index.ts';
import type { LogStore } from '../../pod-logs/index.ts';
import type { ContainerIds, ContainerRuntime } from '../../runtime/index.ts';
import { createEventRecorder } from '../events.ts';
import { createObjectCache, keyOf, type ObjectCache } from '../object-cache.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { createWorkQueue } from '../work-queue.ts';
import { followBusyLeases } from './busy-leases.ts';
import { createClaimVolumes } from './claim-volumes.ts';
import { cleanImages } from './clean-images.ts';
import { followCpuUse } from './cpu-use.ts';
import { findingsOf } from './findings.ts';
import { hibernateAll } from './hibernate.ts';
import { createKeyedLock } from './keyed-lock.ts';
import { limitsCondition } from './limits.ts';
import { type LocalPod, localKey } from './local-pods.ts';
import { createPodImages } from './pod-images.ts';
import { createPodRecords } from './pod-record.ts';
import { createPodRunner } from './pod-runner.ts';
import { type PodSnapshotChange, podSnapshotIdentity, SnapshotRefusedError } from './pod-snapshots.ts';
import { createPreparedContainers, type PreparedLimits } from './prepared/index.ts';
import { recoverPods } from './recover.ts';
import {
  createSnapshotDirectory,
  type PodSnapshotIdentity,
  type SnapshotDirectory,
  seedSnapshotId,
} from './snapshots.ts';
import { CONTAINER_STATUS_UNKNOWN, podStatus } from './status.ts';

export type { PreparedLimits };

/** What the Pod controller (the engine's kubelet) needs. */
export interface PodControllerOptions {
  client: ResourceClient;
  runtime: ContainerRuntime;
  network: SandboxNetwork;
  containers: ContainerIds;
  images: ImageStore;
  logs: LogStore;
  /** Records and snapshots live below it. */
  engineDirectory: string;
  prepared: PreparedLimits;
  /** Node that all Pods run on. */
  nodeName: string;
  /** Where sandboxes resolve names; they can resolve none without it. */
  nameServer?: string;
  now?: () => Date;
  /** CPU from which on its use keeps a Sandbox without a floor of its own awake, in thousandths; 0 for none. */
  idleCpuFloorMillicores: number;
  /** Told of snapshots that PodSnapshots stand for; what was taken is in the API once this resolves, with whether one still stands for the data. */
  podSnapshotChanged(change: PodSnapshotChange): Promise<{ stands: boolean }>;
  failed(what: string, error: unknown): void;
}

/** A running Pod controller. */
export interface PodController {
  /** Everything that an earlier engine left is found again or cleaned up. */
  recovered: Promise<void>;
  /**
   * Takes a snapshot of a Pod that goes on running, for a trigger (its UID). Resolves with the identity of the PodSnapshot, which is in the API by then.
   * @throws SnapshotRefusedError, RuntimeError
   */
  takeSnapshot(pod: { namespace: string; name: string }, trigger: string): Promise<PodSnapshotIdentity>;
  /** The snapshots on disk. */
  snapshots: SnapshotDirectory;
  /** Takes every running Pod into a snapshot for the next start and stops it. Returns what could not be kept. */
  hibernate(): Promise<string[]>;
}

/** After a failure to find out whether a container runs. */
const LOOK_AGAIN_MS = 1000;

/** Pods → containers: starts, watches, checkpoints and stops them, and says so in their status. */
export function startPodController(options: PodControllerOptions): PodController {
  const now = options.now ?? (() => new Date());
  const { client, runtime, network, containers, engineDirectory } = options;
  const locals = new Map<string, LocalPod>();
  const records = createPodRecords(join(engineDirectory, 'pods'));
  const snapshots = createSnapshotDirectory(join(engineDirectory, 'snapshots'), runtime);
  const lock = createKeyedLock();
  const queue = createWorkQueue({
    reconcile: (key) => lock.run(key, () => reconcile(key)),
    failed: (key, error) => options.failed(`pod ${key}`, error),
  });
  const claims = createClaimVolumes({ client, directory: join(engineDirectory, 'volumes'), failed: options.failed });
  const events = createEventRecorder(client, 'kubelet', now, options.failed);
  const images = createPodImages({
    client,
    images: options.images,
    events,
    now,
    fetched: tidy,
    changed: (key) => queue.add(key),
  });
  function tidy(): void {
    cleanImages({ ...options, locals, snapshots, events }).catch((error) => options.failed('the image cache', error));
  }
  const prepared = createPreparedContainers({
    runtime,
    network,
    limits: options.prepared,
    memory: () => ({ availableBytes: process.availableMemory(), totalBytes: totalmem() }),
    nowMs: () => performance.now(),
    failed: options.failed,
  });
  const runner = createPodRunner({
    client,
    claims,
    runtime,
    network,
    containers,
    prepared,
    images,
    events,
    records,
    snapshots,
    logs: options.logs,
    filesDirectory: join(engineDirectory, 'pod-files'),
    nameServer: options.nameServer,
    now,
    failed: options.failed,
    changed: queue.add,
  });
  let recovered = false;
  /** UID of the Pod of a name, as last worked on: others of that name are discarded already. */
  const currentUid = new Map<string, string | undefined>();

  const pods: ObjectCache<Pod> = createObjectCache<Pod>(
    client,
    PODS,
    (after, before) => {
      if (recovered) queue.add(keyOf((after ?? before) as Pod));
    },
    (error) => options.failed('watching pods', error),
  );
  const sandboxes = createObjectCache<Sandbox>(
    client,
    SANDBOXES,
    (after, before) => {
      if (after === undefined) prepared.forget(before?.metadata.uid ?? '');
      const snapshot = before?.metadata.annotations?.[SNAPSHOT_ANNOTATION];
      if (!recovered || snapshot === undefined || after?.metadata.annotations?.[SNAPSHOT_ANNOTATION] === snapshot)
        return;
      // Nobody wakes from it any more: what sleeps with it has an end.
      network.release(snapshot).catch((error) => options.failed(`address of snapshot ${snapshot}`, error));
      if (after === undefined) discardSnapshot(snapshot);
    },
    (error) => options.failed('watching sandboxes', error),
  );

  function discardSnapshot(id: string): void {
    snapshots.discard(id).catch((error) => options.failed(`snapshot ${id}`, error));
  }

  async function reconcile(key: string): Promise<void> {
    const pod = pods.get(key);
    if (pod === undefined || currentUid.get(key) !== pod.metadata.uid) await discardOthers(key, pod);
    if (pod === undefined) return;
    if (pod.metadata.deletionTimestamp !== undefined) return await finishDeletion(pod);
    if (pod.metadata.annotations?.[MIRROR_ANNOTATION] !== undefined) return;
    const uid = pod.metadata.uid ?? '';
    let local = locals.get(uid);
    if (local === undefined) {
      if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return;
      local = runner.adopt(pod);
      locals.set(uid, local);
      await runner.start(pod, local);
    } else if (wantsRestart(local)) {
      await runner.restart(pod, local);
    }
    await runner.advance(pod, local);
    await writeStatus(await checkpointIfAsked(pod, local), local);
  }

  /** Removes what is left of earlier Pods of this name. */
  async function discardOthers(key: string, pod: Pod | undefined): Promise<void> {
    const [namespace, name] = key.split('/');
    for (const local of locals.values()) {
      const { record } = local;
      if (record.name !== name || record.namespace !== namespace || record.uid === pod?.metadata.uid) continue;
      await runner.discard(local, 0);
      locals.delete(local.record.uid);
    }
    if (pod === undefined) currentUid.delete(key);
    else currentUid.set(key, pod.metadata.uid);
  }

  /**
   * Takes the checkpoint that is asked for. That it begins is written first, on the very version of the Pod that asks: from then on it is not Ready, so that
   * nobody sends it anything more; and if the pause was called off meanwhile, that write fails and nothing begins. Resolves with the Pod as it was written.
   */
  async function checkpointIfAsked(pod: Pod, local: LocalPod): Promise<Pod> {
    const asked = pod.metadata.annotations?.[CHECKPOINT_ANNOTATION] !== undefined;
    if (!asked && local.checkpoint?.status === 'False') delete local.checkpoint;
    if (!asked || local.container.phase !== 'running' || local.checkpoint !== undefined) return pod;
    local.checkpoint = { status: 'Unknown', message: 'The checkpoint is being taken' };
    const written = await writeStatus(pod, local);
    if (written === undefined) {
      delete local.checkpoint;
      return pod;
    }
    const seedOf = seedSnapshotId(pod);
    const id = seedOf ?? pod.metadata.uid ?? '';
    const identity = seedOf === undefined ? podSnapshotIdentity(pod, 'suspend', now()) : undefined;
    await runner.checkpoint(pod, local, id, identity);
    // In the API before the Pod goes: whoever waits for that may look for the snapshot at once.
    if (snapshots.exists(id)) await publish(id);
    return written;
  }

  async function publish(id: string): Promise<void> {
    const record = snapshots.recordOf(id);
    if (record === undefined) return;
    await options
      .podSnapshotChanged({ change: 'taken', id, record, sizeBytes: snapshots.sizeBytesOf(id) })
      .catch((error) => options.failed(`snapshot ${id}`, error));
  }

  async function takeSnapshot({ namespace, name }: { namespace: string; name: string }, trigger: string) {
    const key = `${namespace}/${name}`;
    return await lock.run(key, async () => {
      const pod = pods.get(key);
      if (pod === undefined) throw new SnapshotRefusedError(`there is no Pod "${name}" in namespace "${namespace}"`);
      const local = locals.get(pod.metadata.uid ?? '');
      if (local?.container.phase !== 'running' || pod.metadata.deletionTimestamp !== undefined)
        throw new SnapshotRefusedError(`Pod "${name}" does not run; only a running Pod has a memory to take`);
      const identity = { ...podSnapshotIdentity(pod, 'trigger', now()), trigger };
      const id = randomUUID();
      await runner.copy(pod, local, id, identity);
      await publish(id);
      return identity;
    });
  }

  async function finishDeletion(pod: Pod): Promise<void> {
    const uid = pod.metadata.uid ?? '';
    const local = locals.get(uid);
    if (local !== undefined) {
      const graceSeconds = pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
      await runner.discard(local, graceSeconds * 1000, pod);
      locals.delete(uid);
    }
    try {
      await client.delete(PODS, pod.metadata, { uid, gracePeriodSeconds: 0 });
    } catch (error) {
      if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) throw error;
    }
  }

  /** Resolves with the Pod as it is then; undefined if somebody has changed it meanwhile. */
  async function writeStatus(pod: Pod, local: LocalPod): Promise<Pod | undefined> {
    const { container } = local;
    const limits = limitsCondition(pod, runtime.limitProblems);
    const status = podStatus({ ...findingsOf(pod, local), limits }, now());
    let written = pod;
    if (!isDeepStrictEqual(plain(pod.status), plain(status))) {
      try {
        written = await client.update<Pod>(PODS, { ...pod, status } as Pod, 'status');
      } catch (error) {
        if (isApiError(error, 'NotFound')) return undefined;
        // Somebody changed the Pod meanwhile; the watch brings it, and with it another pass.
        if (!isApiError(error, 'Conflict')) throw error;
        return undefined;
      }
    }
    if (container.phase === 'running' && container.ready && local.restoredFrom !== undefined) {
      outlived(local.restoredFrom);
      delete local.restoredFrom;
    }
    return written;
  }

  /** A snapshot whose processes go on: one of the engine's own is of no use any more, what becomes of others their policies say. */
  function outlived(id: string): void {
    const record = snapshots.recordOf(id);
    if (record?.podSnapshot === undefined) discardSnapshot(id);
    else
      options
        .podSnapshotChanged({ change: 'outlived', id, record, sizeBytes: 0 })
        .then(({ stands }) => {
          if (!stands) discardSnapshot(id);
        })
        .catch((error) => options.failed(`snapshot ${id}`, error));
  }

  async function recover(): Promise<void> {
    await Promise.all([pods.synced, sandboxes.synced, claims.synced]);
    const { items: podSnapshots } = await client.list<PodSnapshot>(POD_SNAPSHOTS);
    await recoverPods({
      pods,
      sandboxes,
      locals,
      runner,
      records,
      snapshots,
      runtime,
      network,
      containers,
      podSnapshots,
      publish,
      failed: options.failed,
      later: (local, work) => {
        const key = localKey(local);
        setTimeout(() => lock.run(key, work).finally(() => queue.add(key)), LOOK_AGAIN_MS).unref();
      },
    });
    // Before anybody acts on it: what the API says is from before the end, of containers that may be gone and addresses that nobody has.
    await Promise.all(
      [...locals.values()].map(async (local) => {
        const pod = pods.get(localKey(local));
        if (pod?.metadata.uid === local.record.uid) await writeStatus(pod, local);
      }),
    );
    recovered = true;
    claims.sweep();
    tidy();
    for (const pod of pods.values()) queue.add(keyOf(pod));
    // Deleted meanwhile, when nobody looked.
    for (const local of locals.values()) queue.add(localKey(local));
  }

  const stopAsking = followBusyLeases({ client, running: runningPods, now, failed: options.failed });

  const stopLooking = followCpuUse({
    client,
    runtime,
    running: runningPods,
    defaultFloorMillicores: options.idleCpuFloorMillicores,
    now,
    failed: options.failed,
  });

  /** Pods whose containers run, where they are asked, and whose they are. */
  function* runningPods() {
    for (const local of locals.values()) {
      const pod = pods.get(localKey(local));
      const { address, uid, containerId } = local.record;
      if (local.container.phase !== 'running' || local.stopping || pod?.metadata.uid !== uid) continue;
      const owner = controllerOf(pod);
      const sandbox = owner && sandboxes.get(`${pod.metadata.namespace}/${owner.name}`);
      yield { pod, address, containerId, sandbox };
    }
  }

  return {
    recovered: recover(),
    takeSnapshot,
    snapshots,
    hibernate: async () => {
      stopAsking();
      stopLooking();
      await queue.close();
      images.close();
      await prepared.close();
      return await hibernateAll({ pods, locals, runner, records, snapshots, runtime, network, writeStatus, close });
    },
  };

  function close(): void {
    pods.close();
    sandboxes.close();
    claims.close();
  }
}

function wantsRestart(local: LocalPod): boolean {
  if (local.restartTimer !== undefined) return false;
  const { container } = local;
  if (container.phase === 'ended') return container.restartInMs !== undefined;
  return (
    container.phase === 'waiting' && !['SnapshotRestoreFailed', CONTAINER_STATUS_UNKNOWN].includes(container.reason)
  );
}

function plain(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}
