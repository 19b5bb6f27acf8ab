import {
  CHECKPOINTED_CONDITION,
  nameHash,
  type Pod,
  type SandboxTemplate,
  TEMPLATE_HASH_LABEL,
  TEMPLATE_REF_HASH_LABEL,
} from '../../../kubernetes/index.ts';
import { conditionOf } from '../conditions.ts';
import { ownerReferenceTo } from '../sandbox/ownership.ts';
import { podForSandbox } from '../sandbox/pod-for-sandbox.ts';
import { blueprintHash, blueprintOf } from '../template/blueprint.ts';

/** Longest part of a template's name in the name of its seed, which is a host name too. */
const MOST_NAME_LENGTH = 48;
/** A seed that is not Ready after this time never gets so. */
export const SEED_GRACE_MS = 120_000;
/** A program that ended so often before it was Ready will end again; fewer ends may be an engine's that was killed. */
const MOST_RESTARTS = 2;
/** Why a container waits where waiting helps. */
const PASSING_WAITS = [
  'ContainerCreating',
  'PodInitializing',
  'CreateContainerConfigError',
  'Hibernated',
  'SnapshotTaken',
];

/**
 * The Pod whose memory a template's snapshot is: what a member's Pod would be, under the template instead of a Sandbox, so that no claim, pool or
 * route ever has it: whatever it did would be in all copies.
 */
export function seedPod(template: SandboxTemplate, nodeName: string): Pod {
  const { name: templateName, namespace } = template.metadata;
  const revision = blueprintHash(template);
  const name = `${templateName.slice(0, MOST_NAME_LENGTH).replace(/[.-]+$/, '')}-seed-${revision}`;
  const owner = ownerReferenceTo(template);
  const pod = podForSandbox(
    {
      apiVersion: 'agents.x-k8s.io/v1beta1',
      kind: 'Sandbox',
      metadata: {
        name,
        ...(namespace === undefined ? {} : { namespace }),
        labels: { [TEMPLATE_REF_HASH_LABEL]: nameHash(templateName) },
        ownerReferences: [owner],
      },
      spec: blueprintOf(template),
    },
    { nodeName },
  );
  const labels = { ...pod.metadata.labels, [TEMPLATE_HASH_LABEL]: revision };
  return { ...pod, metadata: { ...pod.metadata, labels, ownerReferences: [owner] } };
}

/** Where a seed is on its way into a snapshot. */
export type SeedStage =
  | { stage: 'starting'; untilMs: number }
  | { stage: 'ready' }
  | { stage: 'taken' }
  | { stage: 'failed'; message: string };

/** What a seed's Pod says of itself. */
export function seedStage(seed: Pod, nowMs: number): SeedStage {
  const checkpointed = conditionOf(seed, CHECKPOINTED_CONDITION);
  if (checkpointed?.status === 'True') return { stage: 'taken' };
  if (checkpointed?.status === 'False')
    return { stage: 'failed', message: `no snapshot of it could be taken: ${checkpointed.message ?? ''}` };
  const { phase, containerStatuses = [], initContainerStatuses = [] } = seed.status ?? {};
  if (phase === 'Succeeded' || phase === 'Failed') return { stage: 'failed', message: `it ended: Pod ${phase}` };
  if (conditionOf(seed, 'Ready')?.status === 'True') return { stage: 'ready' };
  for (const { state, restartCount } of [...initContainerStatuses, ...containerStatuses]) {
    const { reason, message = '' } = state?.waiting ?? {};
    if (reason !== undefined && !PASSING_WAITS.includes(reason) && restartCount >= MOST_RESTARTS)
      return { stage: 'failed', message: `it does not start: ${reason} ${message}`.trimEnd() };
  }
  const untilMs = Date.parse(seed.metadata.creationTimestamp ?? '') + SEED_GRACE_MS;
  if (untilMs <= nowMs) return { stage: 'failed', message: `it was not Ready after ${SEED_GRACE_MS / 1000} s` };
  return { stage: 'starting', untilMs };
}
