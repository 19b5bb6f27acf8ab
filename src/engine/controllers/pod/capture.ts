import { type Pod, SNAPSHOT_COMPRESSION_ANNOTATION } from '../../../kubernetes/index.ts';
import type { ContainerRuntime } from '../../runtime/index.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { combinedRevision } from './clone.ts';
import { compatibilityOf } from './compatibility.ts';
import type { LocalPod } from './local-pods.ts';
import type { MemberRunner } from './member-runner.ts';
import { type PodSnapshotIdentity, type SnapshotDirectory, seedSnapshotId } from './snapshots.ts';

/** What taking snapshots needs. */
export interface CaptureDependencies {
  runtime: ContainerRuntime;
  snapshots: SnapshotDirectory;
  members: MemberRunner;
}

/** Takes a snapshot, with what must be known of it beside it. @throws RuntimeError `checkpoint_failed` */
export async function capture(
  { runtime, snapshots, members }: CaptureDependencies,
  pod: Pod,
  local: LocalPod,
  snapshot: string,
  podSnapshot: PodSnapshotIdentity | undefined,
  leaveRunning: boolean,
): Promise<void> {
  const { containerId: id, address, image } = local.record;
  const present = members.present(local);
  const common = {
    compatibility: compatibilityOf(pod, runtime.compatibility),
    ...(image === undefined ? {} : { imageDigest: image.digest }),
    ...(present === undefined ? {} : { members: present }),
  };
  if (snapshot === seedSnapshotId(pod)) {
    const running = Object.entries(present ?? {}).flatMap(([name, { end }]) => (end === undefined ? [name] : []));
    const others = new Map(running.map((name) => [name, local.record.members?.[name]?.processes ?? '']));
    const processes = combinedRevision(local.record.processes ?? '', others);
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
    await runtime.checkpoint(id, snapshots.pathOf(snapshot), {
      leaveRunning,
      compress,
      members: local.members?.map((member) => member.id) ?? [],
    });
  } catch (error) {
    if (!snapshots.exists(snapshot)) await snapshots.discard(snapshot);
    throw error;
  }
}
