import type { Pod } from '../../../kubernetes/index.ts';
import type { ImageRoot } from '../../images/index.ts';
import { type ContainerRuntime, type RuntimeCompatibility, RuntimeError } from '../../runtime/index.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { compatibilityOf, incompatibility } from './compatibility.ts';
import type { SnapshotDirectory, SnapshotRecord } from './snapshots.ts';

/** Checks that a Pod can be restored from a snapshot. @throws RuntimeError `snapshot_incompatible` */
export function requireRestorable(
  pod: Pod,
  snapshot: string,
  image: ImageRoot,
  { runtime, snapshots }: { runtime: ContainerRuntime; snapshots: SnapshotDirectory },
): void {
  const record = snapshots.recordOf(snapshot);
  const problem = whyNotRestorable(pod, record, image, runtime.compatibility);
  if (problem === undefined) return;
  const name = record?.podSnapshot?.name ?? snapshot;
  throw new RuntimeError('snapshot_incompatible', `snapshot ${name} can't be restored here: ${problem}`);
}

/** Why a Pod can't be restored from a snapshot of another Sandbox, runtime, CPU, image or template, for people; undefined when it can. */
function whyNotRestorable(
  pod: Pod,
  record: SnapshotRecord | undefined,
  image: ImageRoot,
  runtime: RuntimeCompatibility,
): string | undefined {
  const owner = record?.podSnapshot?.owner;
  if (owner !== undefined && owner.uid !== controllerOf(pod)?.uid) return 'it is a snapshot of another sandbox';
  if (record?.imageDigest !== undefined && record.imageDigest !== image.pulled?.digest)
    return `it was taken of content ${record.imageDigest} of the image, which is not to be had any more`;
  if (record?.compatibility === undefined) return undefined;
  return incompatibility(record.compatibility, compatibilityOf(pod, runtime));
}
