import {
  NAME_HASH_LABEL,
  nameHash,
  type OwnerReference,
  type Pod,
  type PodSpec,
  type PodTemplate,
  type Sandbox,
  TEMPLATE_REF_HASH_LABEL,
} from '../../kubernetes/index.ts';
import type { Facts } from './facts.ts';
import { type ObjectReference, referenceTo } from './finding.ts';

/** RuntimeClass that templates name, on GKE as elsewhere. */
export const GVISOR_RUNTIME_CLASS = 'gvisor';

/** A pod that sandboxed code runs in, or, for a paused sandbox, the one that its next wake makes. */
export interface Subject {
  /** The Pod, or the paused Sandbox. */
  object: ObjectReference;
  namespace: string;
  labels: Readonly<Record<string, string>>;
  spec: PodSpec;
  /** Absent for a pod whose Sandbox is gone. */
  sandbox?: Sandbox;
}

/** Whether a Sandbox is set not to run, in v1beta1 or in v1alpha1. */
export function isPaused({ spec }: Sandbox): boolean {
  return spec.operatingMode === 'Suspended' || (spec as { replicas?: number }).replicas === 0;
}

/** Whether a Sandbox has ended for good: nothing about it matters any more. */
export function isOver({ metadata, status }: Sandbox): boolean {
  if (metadata.deletionTimestamp !== undefined) return true;
  return (status?.conditions ?? []).some(
    ({ type, status: value, reason }) =>
      (type === 'Finished' && value === 'True') || (type === 'Ready' && reason === 'SandboxExpired'),
  );
}

/** The owner that controls an object. */
export function controllerOf(object: { metadata: { ownerReferences?: OwnerReference[] } }): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find(({ controller }) => controller === true);
}

/** Pods that a Sandbox controls and that still have processes, or will. */
export function livePods(facts: Facts): Pod[] {
  return facts.lists.pods.items.filter((pod) => {
    const owner = controllerOf(pod);
    const ended = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
    const ofSandbox = owner?.kind === 'Sandbox' && owner.apiVersion.startsWith('agents.x-k8s.io/');
    return ofSandbox && !ended && pod.metadata.deletionTimestamp === undefined;
  });
}

/** Labels that the controller gives to a Sandbox's next Pod (contract section 2.2). */
export function labelsOfNextPod({ metadata, spec }: Sandbox): Record<string, string> {
  const templateHash = metadata.labels?.[TEMPLATE_REF_HASH_LABEL];
  return {
    ...spec.podTemplate.metadata?.labels,
    [NAME_HASH_LABEL]: nameHash(metadata.name),
    ...(templateHash === undefined ? {} : { [TEMPLATE_REF_HASH_LABEL]: templateHash }),
  };
}

/** Every live sandbox pod, and every paused sandbox as the pod that it will be. */
export function subjectsOf(facts: Facts): Subject[] {
  const byUid = new Map(facts.lists.sandboxes.items.map((sandbox) => [sandbox.metadata.uid, sandbox]));
  const running = livePods(facts).map((pod): Subject => {
    const sandbox = byUid.get(controllerOf(pod)?.uid);
    return {
      object: referenceTo(pod),
      namespace: pod.metadata.namespace ?? '',
      labels: pod.metadata.labels ?? {},
      spec: pod.spec,
      ...(sandbox === undefined ? {} : { sandbox }),
    };
  });
  const withPod = new Set(running.map(({ sandbox }) => sandbox?.metadata.uid));
  const paused = facts.lists.sandboxes.items.filter(
    (sandbox) => isPaused(sandbox) && !isOver(sandbox) && !withPod.has(sandbox.metadata.uid),
  );
  return [
    ...running,
    ...paused.map((sandbox) => ({
      object: referenceTo(sandbox),
      namespace: sandbox.metadata.namespace ?? '',
      labels: labelsOfNextPod(sandbox),
      spec: sandbox.spec.podTemplate.spec,
      sandbox,
    })),
  ];
}

/** A pod, or what pods are made from, that lacks something; `source` is where to mend it. */
export interface Faulty {
  object: ObjectReference;
  /** The Sandbox whose podTemplate lacks it too, or the object itself; absent where only the Pod lacks it. */
  source?: ObjectReference;
}

/**
 * Pods, SandboxTemplates and Sandboxes that lack something, each fault once: a Sandbox is not named where its Pod already is. Faults that
 * only the next Pod will have are found as well.
 */
export function findFaulty(facts: Facts, lacks: (template: PodTemplate) => boolean): Faulty[] {
  const sandboxes = facts.lists.sandboxes.items.filter((sandbox) => !isOver(sandbox));
  const lacking = new Map(
    sandboxes
      .filter(({ spec }) => lacks(spec.podTemplate))
      .map((sandbox) => [sandbox.metadata.uid, referenceTo(sandbox)]),
  );
  const pods = livePods(facts)
    .filter(({ metadata, spec }) => lacks({ metadata: { labels: metadata.labels ?? {} }, spec }))
    .map((pod): Faulty => {
      const owner = controllerOf(pod)?.uid;
      const source = lacking.get(owner);
      lacking.delete(owner);
      return { object: referenceTo(pod), ...(source === undefined ? {} : { source }) };
    });
  const templates = facts.lists.templates.items
    .filter(({ spec }) => lacks(spec.podTemplate))
    .map((template) => referenceTo(template));
  return [...templates, ...lacking.values()].map((object): Faulty => ({ object, source: object })).concat(pods);
}
