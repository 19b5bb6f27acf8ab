import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  COLD_START_ANNOTATION,
  type Pod,
  RESTORE_ANNOTATION,
  type ResourceClient,
  SNAPSHOT_COMPRESSION_ANNOTATION,
} from '../../../kubernetes/index.ts';
import type { ImageRoot } from '../../images/index.ts';
import type { SandboxNetwork } from '../../network/index.ts';
import type { LogStore } from '../../pod-logs/index.ts';
import {
  type ContainerIds,
  type ContainerRuntime,
  type ContainerSpec,
  containerId,
  RuntimeError,
} from '../../runtime/index.ts';
import { rfc3339 } from '../conditions.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import type { ClaimVolumes } from './claim-volumes.ts';
import { processRevision, startAsCopy } from './clone.ts';
import { compatibilityOf } from './compatibility.ts';
import { mainContainer } from './container-spec.ts';
import { lastLines } from './last-lines.ts';
import { type LocalPod, localKey, restartDelayMs } from './local-pods.ts';
import type { PodImages } from './pod-images.ts';
import type { PodRecords } from './pod-record.ts';
import { type Prepared, type PreparedContainers, shapeOf } from './prepared/index.ts';
import { followReadiness } from './readiness.ts';
import { whyNotRestorable } from './restorable.ts';
import {
  hibernationId,
  isTemplateSnapshot,
  type PodSnapshotIdentity,
  type SnapshotDirectory,
  seedSnapshotId,
} from './snapshots.ts';
import { createSpecWriter, SHARED_FILES } from './spec-writer.ts';
import { isSnapshotsFault, waitingReason } from './start-failure.ts';

/** What running Pods needs. */
export interface PodRunnerOptions {
  client: ResourceClient;
  claims: ClaimVolumes;
  runtime: ContainerRuntime;
  network: SandboxNetwork;
  images: PodImages;
  containers: ContainerIds;
  prepared: PreparedContainers;
  records: PodRecords;
  snapshots: SnapshotDirectory;
  logs: LogStore;
  /** Files that Pods get from the engine: a directory for each. */
  filesDirectory: string;
  nameServer: string | undefined;
  now(): Date;
  /** The state of this Pod (`namespace/name`) changed: it wants a new status, or another pass. */
  changed(key: string): void;
}

/** How long the first status of a container waits for readiness: one write instead of two. */
const READY_AT_ONCE_MS = 60;

/** Starts, follows, checkpoints and stops the containers of Pods. */
export function createPodRunner(options: PodRunnerOptions) {
  const { runtime, network, records, snapshots, logs } = options;
  const filesOf = (uid: string) => join(options.filesDirectory, uid);
  const specOf = createSpecWriter(options);

  /** Starts a Pod's container, from its snapshot where it has one; what fails becomes the container's state. */
  async function start(pod: Pod, local: LocalPod): Promise<void> {
    const uid = pod.metadata.uid ?? '';
    const hibernated = snapshots.exists(hibernationId(uid)) ? hibernationId(uid) : undefined;
    const first = local.record.startedAt === undefined;
    const snapshot = hibernated ?? (first ? pod.metadata.annotations?.[RESTORE_ANNOTATION] : undefined);
    try {
      const found = await options.images.imageFor(pod, mainContainer(pod), imageDigestOf(snapshot));
      local.awaitsImage = 'waiting' in found;
      if ('waiting' in found) local.container = { phase: 'waiting', ...found.waiting };
      else await startContainer(pod, local, snapshot, found.image);
    } catch (error) {
      await network.detach(local.record.containerId);
      const message = (error as Error).message;
      if (isSnapshotsFault(error)) {
        const reason = error.code === 'snapshot_incompatible' ? 'SnapshotIncompatible' : 'RestoreFailed';
        local.restored = { status: 'False', reason, message };
        local.container = { phase: 'waiting', reason: 'SnapshotRestoreFailed', message };
        return;
      }
      local.container = { phase: 'waiting', reason: waitingReason(error), message };
      scheduleRestart(local);
      local.record.restartCount++;
    }
  }

  /** What the processes in a snapshot were started from: they go on with the same files, wherever a tag leads by now. */
  function imageDigestOf(snapshot: string | undefined): string | undefined {
    return snapshot === undefined ? undefined : snapshots.recordOf(snapshot)?.imageDigest;
  }

  /** In the container that waits for one like it, where there is one; should that be of no use after all, in one of its own. */
  async function startContainer(
    pod: Pod,
    local: LocalPod,
    snapshot: string | undefined,
    image: ImageRoot,
  ): Promise<void> {
    const first = local.record.startedAt === undefined;
    const waiting = snapshot !== undefined && first ? options.prepared.take(controllerOf(pod)?.uid ?? '') : undefined;
    if (waiting !== undefined) {
      try {
        use(local, waiting.id);
        return await startIn(pod, local, snapshot, image, waiting);
      } catch {
        await options.prepared.discard(waiting);
        use(local, containerId(local.record.uid));
      }
    }
    await startIn(pod, local, snapshot, image, undefined);
  }

  function use({ record }: LocalPod, id: string): void {
    record.containerId = id;
    options.containers.set(record.uid, id);
  }

  async function startIn(
    pod: Pod,
    local: LocalPod,
    snapshot: string | undefined,
    image: ImageRoot,
    waiting: Prepared | undefined,
  ): Promise<void> {
    const { record } = local;
    if (image.pulled === undefined) delete record.image;
    else record.image = image.pulled;
    const preferred =
      (snapshot === undefined ? undefined : snapshots.recordOf(snapshot)?.address) || record.address || undefined;
    const attachment = await network.attach(record.containerId, preferred, snapshot);
    record.address = attachment.address;
    records.write(record);
    const spec = await specOf(pod, image, {
      id: record.containerId,
      network: attachment,
      logPath: logs.pathOf(record.uid),
    });
    if (waiting !== undefined && shapeOf(spec) !== waiting.shape)
      throw new RuntimeError('start_failed', 'the container that waits is like no container of this Pod');
    local.spec = spec;
    const runFromStart = async () => {
      logs.opening(record.uid, 'start');
      await runtime.run(spec);
    };
    if (seedSnapshotId(pod) !== undefined) {
      // Before it runs: an engine that finds it running must know.
      record.processes = processRevision(spec);
      records.write(record);
    }
    if (snapshot === undefined) await runFromStart();
    else if (isTemplateSnapshot(snapshot))
      local.restored = await startAsCopy(pod, spec, snapshot, {
        ...options,
        requireRestorable: () => requireRestorable(pod, snapshot, image),
        restore: () => restore(spec, record.uid, snapshot),
        runFromStart,
      });
    else {
      try {
        requireRestorable(pod, snapshot, image);
        await restore(spec, record.uid, snapshot);
        local.restoredFrom = snapshot;
        local.resumed = attachment.wasReserved && snapshot === pod.metadata.annotations?.[RESTORE_ANNOTATION];
        const name = snapshots.recordOf(snapshot)?.podSnapshot?.name;
        if (name !== undefined)
          local.restored = { status: 'True', reason: 'Restored', message: `Restored from PodSnapshot ${name}` };
      } catch (error) {
        const cold = !runtime.durableSnapshots || pod.metadata.annotations?.[COLD_START_ANNOTATION] === 'allow';
        if (waiting !== undefined || !cold || !isSnapshotsFault(error)) throw error;
        local.restored = { status: 'False', reason: 'StartedCold', message: error.message };
        await network.attach(record.containerId, record.address);
        await runFromStart();
      }
    }
    record.startedAt = rfc3339(options.now());
    records.write(record);
    local.container = { phase: 'running', ready: false };
    const ready = follow(pod, local);
    await Promise.race([ready, delay(READY_AT_ONCE_MS, undefined, { ref: false })]);
  }

  /** The network of a container that waited is opened meanwhile; both are over when this is. */
  async function restore(spec: ContainerSpec, uid: string, snapshot: string): Promise<void> {
    logs.opening(uid, 'restore');
    const restored = runtime.restore(spec, snapshots.pathOf(snapshot));
    for (const outcome of await Promise.allSettled([restored, network.open(spec.id)]))
      if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** @throws RuntimeError `snapshot_incompatible` */
  function requireRestorable(pod: Pod, snapshot: string, image: ImageRoot): void {
    const problem = whyNotRestorable(pod, snapshots.recordOf(snapshot), image, runtime.compatibility);
    if (problem === undefined) return;
    const name = snapshots.recordOf(snapshot)?.podSnapshot?.name ?? snapshot;
    throw new RuntimeError('snapshot_incompatible', `snapshot ${name} can't be restored here: ${problem}`);
  }

  /** Takes a snapshot, with what must be known of it beside it. */
  async function capture(
    pod: Pod,
    { record: { containerId: id, address, image, processes = '' } }: LocalPod,
    snapshot: string,
    podSnapshot: PodSnapshotIdentity | undefined,
    leaveRunning: boolean,
  ): Promise<void> {
    const common = {
      compatibility: compatibilityOf(pod, runtime.compatibility),
      ...(image === undefined ? {} : { imageDigest: image.digest }),
    };
    if (snapshot === seedSnapshotId(pod)) {
      const template = { namespace: pod.metadata.namespace ?? '', name: controllerOf(pod)?.name ?? '', processes };
      if (!snapshots.exists(snapshot)) snapshots.writeRecord(snapshot, { address: '', ...common, template });
    } else if (!snapshots.begun(snapshot) || snapshots.recordOf(snapshot) === undefined) {
      // What an earlier engine began it wrote down itself.
      snapshots.writeRecord(snapshot, {
        address,
        ...common,
        ...(podSnapshot === undefined ? {} : { podSnapshot }),
      });
    }
    try {
      const compress = pod.metadata.annotations?.[SNAPSHOT_COMPRESSION_ANNOTATION] === 'flate';
      await runtime.checkpoint(id, snapshots.pathOf(snapshot), { leaveRunning, compress });
    } catch (error) {
      if (!snapshots.exists(snapshot)) await snapshots.discard(snapshot);
      throw error;
    }
  }

  /** The Sandbox will be called again: its container may be made before. Not where it has files that are made for each Pod. */
  function expectWake(pod: Pod, { spec, record }: LocalPod): void {
    const owner = controllerOf(pod);
    const ownFiles = filesOf(record.uid);
    if (owner?.kind !== 'Sandbox' || spec?.root.mounts.some(({ source }) => source?.startsWith(ownFiles)) !== false)
      return;
    options.prepared.paused(owner.uid, spec, record.address);
  }

  /** Watches readiness and the end of a container that runs; resolves when it is ready for the first time. */
  function follow(pod: Pod, local: LocalPod): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const following = new AbortController();
    local.following = following;
    const { containerId: id, address } = local.record;
    const target = {
      address,
      container: mainContainer(pod),
      exec: async (command: string[], timeoutMs: number) => (await runtime.exec(id, command, { timeoutMs })).exitCode,
    };
    const changed = (ready: boolean) => {
      if (following.signal.aborted || local.container.phase !== 'running') return;
      local.container = { phase: 'running', ready };
      resolve();
      options.changed(localKey(local));
    };
    followReadiness(target, changed, following.signal).catch(() => {});
    runtime
      .wait(id, following.signal)
      .then((exitCode) => ended(pod, local, exitCode))
      .then(resolve)
      .catch(() => {});
    return promise;
  }

  async function ended(pod: Pod, local: LocalPod, exitCode: number): Promise<void> {
    if (local.stopping || local.following?.signal.aborted === true) return;
    local.following?.abort();
    const message = await lastLines(logs.pathOf(local.record.uid));
    const end = { exitCode, message, finishedAt: rfc3339(options.now()) };
    const policy = pod.spec.restartPolicy ?? 'Always';
    const restart = policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
    local.lastEnd = end;
    if (!restart) local.container = { phase: 'ended', ...end };
    else local.container = { phase: 'ended', ...end, restartInMs: scheduleRestart(local) };
    options.changed(localKey(local));
  }

  function scheduleRestart(local: LocalPod): number {
    const delayMs = restartDelayMs(local.record.restartCount);
    local.restartTimer = setTimeout(() => {
      delete local.restartTimer;
      options.changed(localKey(local));
    }, delayMs);
    return delayMs;
  }

  return {
    start,
    follow,
    ended,

    /** A Pod that this machine has not seen yet. */
    adopt: (pod: Pod): LocalPod => {
      const uid = pod.metadata.uid ?? '';
      const { namespace = '', name } = pod.metadata;
      const record = { uid, namespace, name, containerId: containerId(uid), address: '', restartCount: 0 };
      return { record, container: { phase: 'waiting', reason: 'ContainerCreating' }, stopping: false };
    },

    /** Starts a container that ended or could not be started, once its back-off is over. */
    restart: async (pod: Pod, local: LocalPod): Promise<void> => {
      if (local.container.phase === 'ended') local.record.restartCount++;
      if (local.awaitsImage !== true) await runtime.stop(local.record.containerId, 0);
      if (local.awaitsImage !== true) local.container = { phase: 'waiting', reason: 'ContainerCreating' };
      await start(pod, local);
    },

    /** Copies into a snapshot what goes on running. @throws RuntimeError `checkpoint_failed` */
    copy: async (pod: Pod, local: LocalPod, snapshot: string, podSnapshot?: PodSnapshotIdentity): Promise<void> => {
      await capture(pod, local, snapshot, podSnapshot, true);
    },

    /** Stops into a snapshot; the outcome becomes part of the Pod's status. */
    checkpoint: async (
      pod: Pod,
      local: LocalPod,
      snapshot: string,
      podSnapshot?: PodSnapshotIdentity,
    ): Promise<void> => {
      const { containerId: id } = local.record;
      local.stopping = true;
      try {
        await capture(pod, local, snapshot, podSnapshot, false);
        local.following?.abort();
        // A Sandbox will be woken from it; other Pods with a checkpoint are gone.
        const reserves = controllerOf(pod) !== undefined && !isTemplateSnapshot(snapshot);
        await network.detach(id, reserves ? snapshot : undefined);
        local.container = { phase: 'stopped-for-snapshot' };
        local.checkpoint = { status: 'True', message: `Snapshot ${snapshot} is taken` };
        if (snapshot === local.record.uid) expectWake(pod, local);
      } catch (error) {
        local.checkpoint = { status: 'False', message: (error as Error).message };
        local.stopping = false;
        const state = await runtime.state(id);
        if (state.state !== 'running') await ended(pod, local, state.state === 'exited' ? state.exitCode : 137);
      }
    },

    /** Stops a container; its Pod stays known. */
    stop: async (local: LocalPod): Promise<void> => {
      clearTimeout(local.restartTimer);
      local.stopping = true;
      local.following?.abort();
      await runtime.stop(local.record.containerId, 0);
    },

    /** Stops a container and removes everything of its Pod from this machine. */
    discard: async (local: LocalPod, gracePeriodMs: number): Promise<void> => {
      const { containerId: id, uid } = local.record;
      clearTimeout(local.restartTimer);
      options.images.forget(uid);
      local.stopping = true;
      local.following?.abort();
      if (local.container.phase !== 'stopped-for-snapshot') {
        await runtime.stop(id, gracePeriodMs);
        await network.detach(id);
      }
      await snapshots.discard(hibernationId(uid));
      records.remove(uid);
      options.containers.forget(uid);
      logs.remove(uid);
      rmSync(filesOf(uid), { recursive: true, force: true });
      options.claims.release(uid);
    },

    /** Removes what is kept of Pods that are not there any more: an engine that died while it discarded one got no further. */
    sweep: (isThere: (uid: string) => boolean): void => {
      for (const uid of logs.podUids()) if (!isThere(uid)) logs.remove(uid);
      const files = existsSync(options.filesDirectory) ? readdirSync(options.filesDirectory) : [];
      for (const uid of files)
        if (uid !== SHARED_FILES && !isThere(uid)) rmSync(filesOf(uid), { recursive: true, force: true });
    },

    /** A container of an earlier engine that runs: what that one did not get to note is made up for. */
    foundRunning: (pod: Pod, local: LocalPod): void => {
      const restored = pod.metadata.annotations?.[RESTORE_ANNOTATION];
      // That of a template is for others, too.
      if (restored !== undefined && !isTemplateSnapshot(restored) && snapshots.exists(restored))
        local.restoredFrom = restored;
      if (local.record.startedAt !== undefined) return;
      // Without it the next start would go back to the snapshot that this one came from.
      local.record.startedAt = rfc3339(options.now());
      records.write(local.record);
    },
  };
}

/** The runner of Pods. */
export type PodRunner = ReturnType<typeof createPodRunner>;
