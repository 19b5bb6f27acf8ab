import { createHash } from 'node:crypto';
import type { Pod } from '../../../kubernetes/index.ts';
import type { RuntimeCompatibility } from '../../runtime/index.ts';

/** What a snapshot was taken with and of; all of it must fit where it is restored. */
export interface SnapshotCompatibility extends RuntimeCompatibility {
  image: string;
  /** Hash of what the Pod's processes were started with, see {@link podRevision}. */
  templateRevision: string;
}

/** What a snapshot of this Pod, taken here and now, will fit. */
export function compatibilityOf(pod: Pod, runtime: RuntimeCompatibility): SnapshotCompatibility {
  return {
    ...runtime,
    image: pod.spec.containers.map(({ image }) => image).join(', '),
    templateRevision: podRevision(pod),
  };
}

/**
 * Hash of those parts of a Pod that live on in the memory of its processes: commands, variables, user, mounts. Labels, probes, ports and
 * limits may change while it sleeps.
 */
export function podRevision({ spec }: Pod): string {
  const containers = spec.containers.map((container) => {
    const { name, image, command, args, env, workingDir } = container;
    const { volumeMounts, securityContext } = container as { volumeMounts?: unknown; securityContext?: unknown };
    return [name, image, command, args, env, workingDir, volumeMounts, securityContext];
  });
  const { securityContext } = spec as { securityContext?: unknown };
  const text = JSON.stringify([containers, securityContext ?? {}]);
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** Why a snapshot can't be restored with what there is now, for people; undefined when it can. */
export function incompatibility(taken: SnapshotCompatibility, now: SnapshotCompatibility): string | undefined {
  const machine = machineIncompatibility(taken, now);
  if (machine !== undefined) return machine;
  if (taken.image !== now.image) return `it was taken of image ${taken.image}, the Pod is to run ${now.image}`;
  if (taken.templateRevision !== now.templateRevision)
    return `the Pod's template was changed since (revision ${taken.templateRevision}, now ${now.templateRevision}): command, variables, user or mounts differ`;
  return undefined;
}

/** The part of {@link incompatibility} that does not depend on the Pod: no Pod of this machine can be restored from it. */
export function machineIncompatibility(taken: RuntimeCompatibility, now: RuntimeCompatibility): string | undefined {
  if (taken.runtime !== now.runtime) return `it was taken with ${taken.runtime}, this is ${now.runtime}`;
  const missing = taken.cpuFeatures.filter((feature) => !now.cpuFeatures.includes(feature));
  if (missing.length > 0) return `this CPU lacks ${missing.join(', ')}, which the CPU that it was taken on has`;
  return undefined;
}
