import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  CHECKPOINT_ANNOTATION,
  isApiError,
  PODS,
  type Pod,
  type ResourceClient,
  SANDBOXES,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
} from '../../../kubernetes/index.ts';
import type { ImageStore } from '../../images/index.ts';
import type { SandboxNetwork } from '../../network/index.ts';
import type { ContainerRuntime } from '../../runtime/index.ts';
import { createObjectCache, keyOf, type ObjectCache } from '../object-cache.ts';
import { createWorkQueue } from '../work-queue.ts';
import { hibernateAll } from './hibernate.ts';
import type { LocalPod } from './local-pods.ts';
import { createPodRecords } from './pod-record.ts';
import { createPodRunner } from './pod-runner.ts';
import { recoverPods } from './recover.ts';
import { createSnapshotDirectory } from './snapshots.ts';
import { podStatus } from './status.ts';

/** What the Pod controller (the engine's kubelet) needs. */
export interface PodControllerOptions {
  client: ResourceClient;
  runtime: ContainerRuntime;
  network: SandboxNetwork;
  images: ImageStore;
  /** Records, logs and snapshots live below it. */
  engineDirectory: string;
  now?: () => Date;
  failed(what: string, error: unknown): void;
}

/** A running Pod controller. */
export interface PodController {
  /** Everything that an earlier engine left is found again or cleaned up. */
  recovered: Promise<void>;
  /** Path of the log of a Pod's container. */
  logPathOf(podUid: string): string;
  /** Takes every running Pod into a snapshot for the next start and stops it. Returns what could not be kept. */
  hibernate(): Promise<string[]>;
}

/** Pods → containers: starts, watches, checkpoints and stops them, and says so in their status. */
export function startPodController(options: PodControllerOptions): PodController {
  const now = options.now ?? (() => new Date());
  const { client, runtime, network, engineDirectory } = options;
  const locals = new Map<string, LocalPod>();
  const records = createPodRecords(join(engineDirectory, 'pods'));
  const snapshots = createSnapshotDirectory(join(engineDirectory, 'snapshots'), runtime);
  const logsDirectory = join(engineDirectory, 'logs');
  const queue = createWorkQueue({ reconcile, failed: (key, error) => options.failed(`pod ${key}`, error) });
  const runner = createPodRunner({
    runtime,
    network,
    images: options.images,
    records,
    snapshots,
    logsDirectory,
    now,
    changed: queue.add,
  });
  let recovered = false;

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
      const snapshot = before?.metadata.annotations?.[SNAPSHOT_ANNOTATION];
      if (recovered && after === undefined && snapshot !== undefined) discardSnapshot(snapshot);
    },
    (error) => options.failed('watching sandboxes', error),
  );

  function discardSnapshot(id: string): void {
    snapshots.discard(id).catch((error) => options.failed(`snapshot ${id}`, error));
  }

  async function reconcile(key: string): Promise<void> {
    const pod = pods.get(key);
    const [namespace, name] = key.split('/');
    for (const local of locals.values()) {
      const { record } = local;
      if (record.name !== name || record.namespace !== namespace || record.uid === pod?.metadata.uid) continue;
      await runner.discard(local, 0);
      locals.delete(local.record.uid);
    }
    if (pod === undefined) return;
    if (pod.metadata.deletionTimestamp !== undefined) return await finishDeletion(pod);
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
    await checkpointIfAsked(pod, local);
    await writeStatus(pod, local);
  }

  async function checkpointIfAsked(pod: Pod, local: LocalPod): Promise<void> {
    const asked = pod.metadata.annotations?.[CHECKPOINT_ANNOTATION] !== undefined;
    if (!asked && local.checkpoint?.status === 'False') delete local.checkpoint;
    if (asked && local.container.phase === 'running' && local.checkpoint === undefined)
      await runner.checkpoint(pod, local, pod.metadata.uid ?? '');
  }

  async function finishDeletion(pod: Pod): Promise<void> {
    const uid = pod.metadata.uid ?? '';
    const local = locals.get(uid);
    if (local !== undefined) {
      const graceSeconds = pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
      await runner.discard(local, graceSeconds * 1000);
      locals.delete(uid);
    }
    try {
      await client.delete(PODS, pod.metadata, { uid, gracePeriodSeconds: 0 });
    } catch (error) {
      if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) throw error;
    }
  }

  async function writeStatus(pod: Pod, local: LocalPod): Promise<void> {
    const { record, container, lastEnd, checkpoint } = local;
    const status = podStatus(
      {
        pod,
        container,
        containerId: record.containerId,
        address: record.address || undefined,
        startedAt: record.startedAt,
        restartCount: record.restartCount,
        lastEnd,
        checkpoint,
      },
      now(),
    );
    if (!isDeepStrictEqual(plain(pod.status), plain(status))) {
      try {
        await client.update(PODS, { ...pod, status } as Pod, 'status');
      } catch (error) {
        if (isApiError(error, 'NotFound')) return;
        // Somebody changed the Pod meanwhile; the watch brings it, and with it another pass.
        if (!isApiError(error, 'Conflict')) throw error;
        return;
      }
    }
    if (container.phase === 'running' && container.ready && local.restoredFrom !== undefined) {
      discardSnapshot(local.restoredFrom);
      delete local.restoredFrom;
    }
  }

  async function recover(): Promise<void> {
    await Promise.all([pods.synced, sandboxes.synced]);
    await recoverPods({
      pods,
      sandboxes,
      locals,
      runner,
      records,
      snapshots,
      runtime,
      network,
      failed: options.failed,
    });
    recovered = true;
    for (const pod of pods.values()) queue.add(keyOf(pod));
  }

  return {
    recovered: recover(),
    logPathOf: runner.logPathOf,
    hibernate: async () => {
      await queue.close();
      return await hibernateAll({ pods, locals, runner, records, snapshots, runtime, network, writeStatus, close });
    },
  };

  function close(): void {
    pods.close();
    sandboxes.close();
  }
}

function wantsRestart(local: LocalPod): boolean {
  if (local.restartTimer !== undefined) return false;
  const { container } = local;
  if (container.phase === 'ended') return container.restartInMs !== undefined;
  return container.phase === 'waiting' && container.reason !== 'SnapshotRestoreFailed';
}

function plain(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}
