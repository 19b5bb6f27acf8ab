import {
  CLONE_OF_ANNOTATION,
  CREATED_BY_LABEL,
  LAUNCH_TYPE_LABEL,
  nameHash,
  POD_TEMPLATE_HASH_LABEL,
  SAFE_TO_EVICT_ANNOTATION,
  type Sandbox,
  type SandboxTemplate,
  type SandboxWarmPool,
  TEMPLATE_HASH_LABEL,
  TEMPLATE_REF_ANNOTATION,
  TEMPLATE_REF_HASH_LABEL,
  WARM_POOL_LABEL,
} from '../../../kubernetes/index.ts';
import { conditionOf } from '../conditions.ts';
import { ownerReferenceTo } from '../sandbox/ownership.ts';
import { blueprintHash, blueprintOf, podTemplateHash } from '../template/blueprint.ts';

/** A member that is not Ready for so long is replaced (contract section 2.8). */
export const READINESS_GRACE_MS = 5 * 60_000;

/** A new member of a pool (contract section 2.8); `cloneOf` is the snapshot of its template that it starts as a copy of. */
export function memberOf(pool: SandboxWarmPool, template: SandboxTemplate, cloneOf?: string): Sandbox {
  const { name, namespace } = pool.metadata;
  const { podTemplate, ...blueprint } = blueprintOf(template);
  const { metadata = {}, spec } = podTemplate;
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: {
      name: '',
      generateName: `${name}-`,
      ...(namespace === undefined ? {} : { namespace }),
      labels: {
        [WARM_POOL_LABEL]: nameHash(name),
        [TEMPLATE_REF_HASH_LABEL]: nameHash(template.metadata.name),
        [LAUNCH_TYPE_LABEL]: 'warm',
        [TEMPLATE_HASH_LABEL]: blueprintHash(template),
        [POD_TEMPLATE_HASH_LABEL]: podTemplateHash(template),
        [CREATED_BY_LABEL]: 'controller',
      },
      annotations: {
        [TEMPLATE_REF_ANNOTATION]: template.metadata.name,
        ...(cloneOf === undefined ? {} : { [CLONE_OF_ANNOTATION]: cloneOf }),
      },
      ownerReferences: [ownerReferenceTo(pool)],
    },
    spec: {
      ...blueprint,
      podTemplate: {
        metadata: { ...metadata, annotations: { [SAFE_TO_EVICT_ANNOTATION]: 'true', ...metadata.annotations } },
        spec,
      },
    },
  };
}

/** Whether a member serves. */
export function isReady(sandbox: Sandbox): boolean {
  return conditionOf(sandbox, 'Ready')?.status === 'True';
}

/** Whether no node has room for a member: replacing it would help nobody. */
export function isUnschedulable(sandbox: Sandbox): boolean {
  const scheduled = conditionOf(sandbox, 'PodScheduled');
  return scheduled?.status === 'False' && scheduled.reason === 'Unschedulable';
}

/** Since when a member is not Ready, in milliseconds of the epoch; undefined for one that is. */
export function unreadySinceMs(sandbox: Sandbox): number | undefined {
  const ready = conditionOf(sandbox, 'Ready');
  if (ready?.status === 'True') return undefined;
  const created = Date.parse(sandbox.metadata.creationTimestamp ?? '') || 0;
  return Math.max(created, Date.parse(ready?.lastTransitionTime ?? '') || 0);
}

/** Which members a pool that is too large gives up: those that are not Ready first, then the newest. */
export function surplusOf(members: readonly Sandbox[], wanted: number): Sandbox[] {
  if (members.length <= wanted) return [];
  const created = ({ metadata }: Sandbox) => Date.parse(metadata.creationTimestamp ?? '') || 0;
  return members
    .toSorted(
      (left, right) =>
        Number(isReady(left)) - Number(isReady(right)) ||
        created(right) - created(left) ||
        // Within a second the later write is the newer one.
        Number(right.metadata.resourceVersion ?? 0) - Number(left.metadata.resourceVersion ?? 0),
    )
    .slice(0, members.length - wanted);
}
