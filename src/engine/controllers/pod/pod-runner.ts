import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Pod, RESTORE_ANNOTATION } from '../../../kubernetes/index.ts';
import { sharesSandbox } from '../../pod-containers.ts';
import { containerId } from '../../runtime/index.ts';
import { rfc3339 } from '../conditions.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { capture } from './capture.ts';
import { mainContainer } from './container-spec.ts';
import { followContainer, startsLater } from './follow-container.ts';
import { createContainerHooks } from './hooks.ts';
import { lastLines } from './last-lines.ts';
import { type LocalPod, localKey, scheduleRestart } from './local-pods.ts';
import { createMemberRunner } from './member-runner.ts';
import { membersOf } from './members.ts';
import type { PodRecord } from './pod-record.ts';
import type { PodRunnerOptions } from './pod-runner-options.ts';
import { PodRefusedError } from './refusals.ts';
import { hibernationId, isTemplateSnapshot, type PodSnapshotIdentity } from './snapshots.ts';
import { createSpecWriter, SHARED_FILES } from './spec-writer.ts';
import { createContainerStart } from './start-container.ts';
import { isSnapshotsFault, waitingReason } from './start-failure.ts';

/** How long the first status of a container waits for readiness: one write instead of two. */
const READY_AT_ONCE_MS = 60;

/** Starts, follows, checkpoints and stops the containers of Pods. */
export function createPodRunner(options: PodRunnerOptions) {
  const { runtime, network, records, snapshots, logs } = options;
  const filesOf = (uid: string) => join(options.filesDirectory, uid);
  const specOf = createSpecWriter(options);
  const hooks = createContainerHooks(options);
  const members = createMemberRunner({ ...options, specOf, hooks });
  const startContainer = createContainerStart({ ...options, specOf, members, stopAll });
  const taking = { runtime, snapshots, members };

  /** Starts a Pod's container, from its snapshot where it has one; what fails becomes the container's state. */
  async function start(pod: Pod, local: LocalPod): Promise<void> {
    const uid = pod.metadata.uid ?? '';
    const hibernated = snapshots.exists(hibernationId(uid)) ? hibernationId(uid) : undefined;
    const first = local.record.startedAt === undefined;
    const snapshot = hibernated ?? (first ? pod.metadata.annotations?.[RESTORE_ANNOTATION] : undefined);
    try {
      if (local.members !== undefined && !runtime.sharedSandboxes)
        throw new PodRefusedError('spec: several containers in one Pod need gVisor');
      const found = await options.images.imageFor(pod, mainContainer(pod), imageDigestOf(snapshot));
      local.awaitsImage = 'waiting' in found;
      if ('waiting' in found) local.container = { phase: 'waiting', ...found.waiting };
      else {
        const outcome = await startContainer(pod, local, snapshot, found.image);
        if (outcome !== 'waits') await started(pod, local, outcome === 'new');
      }
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
      restartLater(local);
      local.record.restartCount++;
    }
  }

  /** What the processes in a snapshot were started from: they go on with the same files, wherever a tag leads by now. */
  function imageDigestOf(snapshot: string | undefined): string | undefined {
    return snapshot === undefined ? undefined : snapshots.recordOf(snapshot)?.imageDigest;
  }

  async function stopAll(local: LocalPod): Promise<void> {
    await members.stop(local, 0);
    await runtime.stop(local.record.containerId, 0);
  }

  async function started(pod: Pod, local: LocalPod, isNew: boolean): Promise<void> {
    local.record.startedAt = rfc3339(options.now());
    records.write(local.record);
    local.container = { phase: 'running', ready: false };
    const ready = follow(pod, local, isNew);
    await Promise.race([ready, delay(READY_AT_ONCE_MS, undefined, { ref: false })]);
  }

  /** The Sandbox will be called again: its container may be made before, or just the network where it has files that are made for each Pod. */
  function expectWake(pod: Pod, { spec, record }: LocalPod): void {
    const owner = controllerOf(pod);
    if (owner?.kind !== 'Sandbox' || spec === undefined) return;
    const hasOwnFiles = spec.root.mounts.some(({ source }) => source?.startsWith(filesOf(record.uid)));
    options.prepared.paused(owner.uid, spec, record.address, hasOwnFiles);
  }

  /** Watches readiness and the end of a container that runs, new or not; resolves when it is ready for the first time. */
  function follow(pod: Pod, local: LocalPod, isNew: boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const following = new AbortController();
    const { signal } = following;
    local.following = following;
    const { containerId: id, address } = local.record;
    const container = mainContainer(pod);
    const listener = {
      started: () => {
        local.isStarting = false;
      },
      ready: (ready: boolean) => {
        if (signal.aborted || local.container.phase !== 'running') return;
        local.container = { phase: 'running', ready };
        resolve();
        options.changed(localKey(local));
      },
      ended: async (exitCode: number, failedProbe: boolean) => {
        await ended(pod, local, exitCode, failedProbe);
        resolve();
      },
    };
    local.isStarting = startsLater(container, isNew);
    const place = { pod, container, id, address };
    followContainer({ ...options, hooks }, place, { isNew, withProbes: true }, listener, signal);
    return promise;
  }

  async function ended(pod: Pod, local: LocalPod, exitCode: number, failedProbe = false): Promise<void> {
    if (local.stopping || local.following?.signal.aborted === true) return;
    local.following?.abort();
    const message = await lastLines(logs.pathOf(local.record.uid));
    const ending = { exitCode, message, finishedAt: rfc3339(options.now()) };
    const outOfMemory = exitCode !== 0 && runtime.wasOutOfMemory(local.record.containerId);
    const end = outOfMemory ? { ...ending, exitCode: 137, reason: 'OOMKilled' as const } : ending;
    members.reset(local, end);
    const policy = pod.spec.restartPolicy ?? 'Always';
    const restart = policy === 'Always' || (policy === 'OnFailure' && (exitCode !== 0 || failedProbe));
    local.lastEnd = end;
    if (!restart) local.container = { phase: 'ended', ...end };
    else local.container = { phase: 'ended', ...end, restartInMs: restartLater(local) };
    options.changed(localKey(local));
  }

  function restartLater(local: LocalPod): number {
    return scheduleRestart(local, local.record, () => options.changed(localKey(local)));
  }

  return {
    start,
    follow,
    ended,

    /** A Pod that this machine has not seen yet. */
    adopt: (pod: Pod, known?: PodRecord): LocalPod => {
      const uid = pod.metadata.uid ?? '';
      const { namespace = '', name } = pod.metadata;
      const record = known ?? { uid, namespace, name, containerId: containerId(uid), address: '', restartCount: 0 };
      const local: LocalPod = {
        record,
        container: { phase: 'waiting', reason: 'ContainerCreating' },
        stopping: false,
      };
      if (!sharesSandbox(pod)) return local;
      record.members ??= {};
      return { ...local, members: membersOf(pod, record.members) };
    },

    /** Brings the containers that share a sandbox one step on. */
    advance: members.advance,

    /** Looks after a container again that runs since an earlier engine. */
    followAgain: async (pod: Pod, local: LocalPod): Promise<void> => {
      const recoverMembers = await members.recover(pod, local);
      local.container = { phase: 'running', ready: false };
      recoverMembers();
      await follow(pod, local, false);
    },

    /** Starts a container that ended or could not be started, once its back-off is over. */
    restart: async (pod: Pod, local: LocalPod): Promise<void> => {
      if (local.container.phase === 'ended') local.record.restartCount++;
      if (local.awaitsImage !== true) {
        await stopAll(local);
        local.container = { phase: 'waiting', reason: 'ContainerCreating' };
      }
      await start(pod, local);
    },

    /** Copies into a snapshot what goes on running. @throws RuntimeError `checkpoint_failed` */
    copy: async (pod: Pod, local: LocalPod, snapshot: string, podSnapshot?: PodSnapshotIdentity): Promise<void> => {
      await capture(taking, pod, local, snapshot, podSnapshot, true);
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
        await capture(taking, pod, local, snapshot, podSnapshot, false);
        local.following?.abort();
        members.leave(local);
        // A Sandbox will be woken from it; other Pods with a checkpoint are gone.
        const reserves = controllerOf(pod) !== undefined && !isTemplateSnapshot(snapshot);
        await network.detach(id, reserves ? snapshot : undefined);
        local.container = { phase: 'stopped-for-snapshot' };
        local.checkpoint = { status: 'True', message: `Snapshot ${snapshot} is taken` };
        if (snapshot === local.record.uid && local.members === undefined) expectWake(pod, local);
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
      members.leave(local);
      await stopAll(local);
    },

    /** Stops a container, in an orderly way where its Pod is given, and removes everything of that from this machine. */
    discard: async (local: LocalPod, gracePeriodMs: number, pod?: Pod): Promise<void> => {
      const { containerId: id, uid, address } = local.record;
      clearTimeout(local.restartTimer);
      options.images.forget(uid);
      local.stopping = true;
      local.following?.abort();
      members.leave(local);
      if (local.container.phase !== 'stopped-for-snapshot') {
        await members.stop(local, gracePeriodMs, pod);
        if (pod === undefined || local.members !== undefined || local.container.phase !== 'running')
          await runtime.stop(id, local.members === undefined ? gracePeriodMs : 0);
        else await hooks.stop({ pod, id, address, container: mainContainer(pod) }, gracePeriodMs);
        await network.detach(id);
      }
      await snapshots.discard(hibernationId(uid));
      records.remove(uid);
      options.containers.forget(uid);
      logs.remove(uid);
      for (const name of Object.keys(local.record.members ?? {})) logs.remove(`${uid}.${name}`);
      rmSync(filesOf(uid), { recursive: true, force: true });
      options.claims.release(uid);
    },

    /** Removes what is kept of Pods that are not there any more: an engine that died while it discarded one got no further. */
    sweep: (isThere: (uid: string) => boolean): void => {
      for (const key of logs.keys()) if (!isThere(key.split('.')[0] ?? '')) logs.remove(key);
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
