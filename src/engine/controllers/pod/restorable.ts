import type { Pod } from '../../../kubernetes/index.ts';
import type { ImageRoot } from '../../images/index.ts';
import type { RuntimeCompatibility } from '../../runtime/index.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { compatibilityOf, incompatibility } from './compatibility.ts';
import type { SnapshotRecord } from './snapshots.ts';

/** Why a Pod can't be restored from a snapshot of another Sandbox, runtime, CPU, image or template, for people; undefined when it can. */
export function whyNotRestorable(
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
