import { COLD_START_ANNOTATION, type Pod, RESTORE_ANNOTATION } from '../../../kubernetes/index.ts';
import type { ImageRoot } from '../../images/index.ts';
import { type ContainerSpec, containerId, RuntimeError } from '../../runtime/index.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { processRevision, sandboxRevision, startAsCopy } from './clone.ts';
import { mainContainer } from './container-spec.ts';
import type { LocalPod } from './local-pods.ts';
import type { MemberRunner } from './member-runner.ts';
import type { PodRunnerOptions } from './pod-runner-options.ts';
import { type Prepared, shapeOf } from './prepared/index.ts';
import { requireRestorable } from './restorable.ts';
import { isTemplateSnapshot, seedSnapshotId } from './snapshots.ts';
import type { SpecWriter } from './spec-writer.ts';
import { isSnapshotsFault } from './start-failure.ts';

/** What starting a Pod's container needs. */
export interface ContainerStartOptions extends PodRunnerOptions {
  specOf: SpecWriter;
  members: MemberRunner;
  /** Stops all containers of a Pod. */
  stopAll(local: LocalPod): Promise<void>;
}

/** What became of it: it runs from its command, goes on from a snapshot, or waits for what `local` says. */
export type StartOutcome = 'new' | 'restored' | 'waits';

/**
 * Starts a Pod's container (where several share its sandbox, the one that holds it): from its command, from a snapshot or as a copy of its template's.
 * @throws RuntimeError
 */
export type ContainerStart = (
  pod: Pod,
  local: LocalPod,
  snapshot: string | undefined,
  image: ImageRoot,
) => Promise<StartOutcome>;

/** Creates a {@link ContainerStart}. */
export function createContainerStart(options: ContainerStartOptions): ContainerStart {
  const { runtime, network, records, snapshots, logs, specOf, members } = options;

  /** In the container that waits for one like it, where there is one, or in the network that waits; should the container be of no use after all, in one of its own. */
  async function startContainer(
    pod: Pod,
    local: LocalPod,
    snapshot: string | undefined,
    image: ImageRoot,
  ): Promise<StartOutcome> {
    const first = local.record.startedAt === undefined;
    const mayWait = snapshot !== undefined && first && local.members === undefined;
    const waiting = mayWait ? options.prepared.take(controllerOf(pod)?.uid ?? '') : undefined;
    if (waiting !== undefined) use(local, waiting.id);
    if (waiting?.shape !== undefined) {
      try {
        return await startIn(pod, local, snapshot, image, waiting);
      } catch (error) {
        report(pod, error as Error);
        await options.prepared.discard(waiting);
        use(local, containerId(local.record.uid));
      }
    }
    return await startIn(pod, local, snapshot, image, undefined);
  }

  /** The wake goes on without it, and is slower: whoever runs the engine, and whoever asks why, is to know. */
  function report(pod: Pod, error: Error): void {
    const { namespace, name } = pod.metadata;
    options.failed(`the container that waited for pod ${namespace}/${name}`, error);
    const owner = controllerOf(pod);
    if (owner === undefined) return;
    const { apiVersion, kind, uid } = owner;
    const sandbox = { apiVersion, kind, metadata: { name: owner.name, namespace: namespace ?? 'default', uid } };
    const message = `The container that waited could not be used, so it wakes without one: ${error.message}`;
    options.events.warn(sandbox, 'PreparedContainerFailed', message);
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
  ): Promise<StartOutcome> {
    const { record } = local;
    if (image.pulled === undefined) delete record.image;
    else record.image = image.pulled;
    const preferred =
      (snapshot === undefined ? undefined : snapshots.recordOf(snapshot)?.address) || record.address || undefined;
    let attachment = await network.attach(record.containerId, preferred, snapshot, snapshot !== undefined);
    record.address = attachment.address;
    records.write(record);
    const { containerId: id } = record;
    const spec = await specOf(pod, { id, container: mainContainer(pod), image, network: attachment, sandbox: id });
    if (waiting !== undefined && shapeOf(spec) !== waiting.shape)
      throw new RuntimeError('start_failed', 'the container that waits is like no container of this Pod');
    local.spec = spec;
    let isNew = false;
    const runFromStart = async () => {
      isNew = true;
      delete record.isRestored;
      logs.opening(record.uid, 'start');
      await runtime.run(spec);
    };
    if (seedSnapshotId(pod) !== undefined) {
      // Before it runs: an engine that finds it running must know.
      record.processes = processRevision(spec);
      records.write(record);
    }
    if (snapshot === undefined) await runFromStart();
    else if (isTemplateSnapshot(snapshot)) {
      const { members: taken } = snapshots.recordOf(snapshot) ?? {};
      const others = await members.specsOf(pod, local, taken);
      if ('waiting' in others) return await waitFor(local, others.waiting);
      local.restored = await startAsCopy(pod, spec, snapshot, {
        ...options,
        processes: sandboxRevision(spec, others.specs),
        requireRestorable: () => requireRestorable(pod, snapshot, image, options),
        restore: () => restore(spec, record.uid, snapshot, others.specs),
        stop: () => options.stopAll(local),
        runFromStart,
      });
      if (taken !== undefined && local.restored.status === 'True') {
        record.isRestored = true;
        members.restored(pod, local, taken);
      }
    } else {
      try {
        requireRestorable(pod, snapshot, image, options);
        const { members: taken } = snapshots.recordOf(snapshot) ?? {};
        const others = await members.specsOf(pod, local, taken);
        if ('waiting' in others) return await waitFor(local, others.waiting);
        try {
          await restore(spec, record.uid, snapshot, others.specs);
        } catch (error) {
          if (waiting !== undefined || !isSnapshotsFault(error)) throw error;
          // runsc fails now and then where nothing is wrong with a snapshot; what one lacks, it lacks the second time as well.
          options.failed(
            `restoring pod ${pod.metadata.namespace}/${pod.metadata.name}, which is tried once more`,
            error,
          );
          attachment = await network.attach(record.containerId, record.address, snapshot);
          spec.network = attachment;
          await restore(spec, record.uid, snapshot, others.specs);
        }
        if (taken !== undefined) record.isRestored = true;
        members.restored(pod, local, taken);
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
    return isNew ? 'new' : 'restored';
  }

  /** The network of a container that waited is opened meanwhile, unless nothing is restored into it; both are over when this is. */
  async function restore(
    spec: ContainerSpec,
    uid: string,
    snapshot: string,
    others: readonly ContainerSpec[],
  ): Promise<void> {
    logs.opening(uid, 'restore');
    const failure = new AbortController();
    const restored = runtime.restore(spec, snapshots.pathOf(snapshot), others).catch((error) => {
      failure.abort();
      throw error;
    });
    for (const outcome of await Promise.allSettled([restored, network.open(spec.id, failure.signal)]))
      if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** Nothing of it is there but the wait for an image. */
  async function waitFor(local: LocalPod, waiting: { reason: string; message?: string }): Promise<'waits'> {
    await network.detach(local.record.containerId);
    local.awaitsImage = true;
    local.container = { phase: 'waiting', ...waiting };
    return 'waits';
  }

  return startContainer;
}
