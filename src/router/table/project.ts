import { parseDurationMs, parseMillicores, parseTimeoutList, type Timeouts } from '../../config/index.ts';
import {
  ASLEEP_ANSWER_ANNOTATION,
  BUSY_UNTIL_ANNOTATION,
  BUSY_WHY_ANNOTATION,
  CHECKPOINTED_CONDITION,
  CLAIM_UID_LABEL,
  CPU_ACTIVE_ANNOTATION,
  DRAINING_ANNOTATION,
  EGRESS_LABEL,
  IDLE_CPU_FLOOR_ANNOTATION,
  IDLE_TIMEOUT_ANNOTATION,
  ISOLATED_CONDITION,
  type KubernetesObject,
  LAST_ACTIVE_ANNOTATION,
  NAME_HASH_LABEL,
  POD_NAME_ANNOTATION,
  POD_RESTORED_CONDITION,
  PORT_ANNOTATION,
  type Pod,
  type PodTemplate,
  PROTOCOL_ANNOTATION,
  REDIAL_ANNOTATION,
  RESTORE_ANNOTATION,
  RESUMED_CONDITION,
  type Sandbox,
  type SandboxForm,
  TEMPLATE_REF_ANNOTATION,
  TIMEOUTS_ANNOTATION,
  V1BETA1_FORM,
  WAKE_ANNOTATION,
  WAKE_ON_ANNOTATION,
  WARM_POOL_LABEL,
} from '../../kubernetes/index.ts';
import { asleepRules } from './asleep-rules.ts';
import { busyLease } from './busy-lease.ts';
import { intern } from './intern.ts';
import { portProtocols } from './protocols.ts';
import type { PodRecord, SandboxRecord } from './records.ts';

/** Port where nothing says otherwise (design section 4). */
const DEFAULT_PORT = 8888;

/** Record of a Sandbox object, in the form in which it is served. */
export function projectSandbox(object: KubernetesObject, form: SandboxForm = V1BETA1_FORM): SandboxRecord {
  const { metadata, status } = object as Sandbox;
  const condition = (type: string) => status?.conditions?.find((candidate) => candidate.type === type);
  const ready = condition('Ready');
  const template = form.podTemplate(object);
  return {
    namespace: intern(metadata.namespace ?? ''),
    name: metadata.name,
    uid: metadata.uid ?? '',
    generation: metadata.generation ?? 0,
    resourceVersion: metadata.resourceVersion ?? '',
    running: form.running(object),
    draining: metadata.annotations?.[DRAINING_ANNOTATION] ?? '',
    pooled: metadata.labels?.[WARM_POOL_LABEL] !== undefined,
    port: portOf(metadata.annotations?.[PORT_ANNOTATION], template),
    protocols: portProtocols(metadata.annotations?.[PROTOCOL_ANNOTATION]),
    wakes: metadata.annotations?.[WAKE_ANNOTATION] !== 'never',
    redials: metadata.annotations?.[REDIAL_ANNOTATION] === 'true',
    asleep: asleepRules(metadata.annotations?.[WAKE_ON_ANNOTATION], metadata.annotations?.[ASLEEP_ANSWER_ANNOTATION]),
    cpuFloorMillicores: cpuFloorOf(metadata.annotations?.[IDLE_CPU_FLOOR_ANNOTATION]),
    idleTimeoutMs: idleTimeoutOf(metadata.annotations?.[IDLE_TIMEOUT_ANNOTATION]),
    timeouts: timeoutsOf(metadata.annotations?.[TIMEOUTS_ANNOTATION]),
    reportedActiveMs: Date.parse(metadata.annotations?.[LAST_ACTIVE_ANNOTATION] ?? '') || 0,
    ready: ready?.status === 'True',
    readyReason: intern(ready?.reason ?? ''),
    readyMessage: intern(ready?.message ?? ''),
    readyGeneration: ready?.observedGeneration ?? 0,
    suspended: condition('Suspended')?.status === 'True',
    finished: condition('Finished')?.status === 'True',
    isolated: condition(ISOLATED_CONDITION)?.status !== 'False',
    template: intern(`${metadata.namespace ?? ''}/${metadata.annotations?.[TEMPLATE_REF_ANNOTATION] ?? ''}`),
    podName: metadata.annotations?.[POD_NAME_ANNOTATION] ?? metadata.name,
    runtimeClass: intern(template?.spec?.runtimeClassName ?? ''),
    egressClass: intern(template?.metadata?.labels?.[EGRESS_LABEL] ?? ''),
  };
}

/** Record of a Pod object; undefined for one that no Sandbox controls. */
export function projectPod(object: KubernetesObject): PodRecord | undefined {
  const { metadata, spec, status } = object as Pod;
  const owner = metadata.ownerReferences?.find(
    ({ controller, kind, apiVersion }) =>
      controller === true &&
      kind === 'Sandbox' &&
      (apiVersion.startsWith('agents.x-k8s.io/') || apiVersion.startsWith('sandbox.gke.io/')),
  );
  if (owner === undefined) return undefined;
  const holds = (type: string) =>
    status?.conditions?.some((condition) => condition.type === type && condition.status === 'True') === true;
  return {
    namespace: intern(metadata.namespace ?? ''),
    name: metadata.name,
    uid: metadata.uid ?? '',
    sandboxUid: owner.uid,
    address: status?.podIP ?? '',
    ready: status?.phase === 'Running' && holds('Ready'),
    terminating: metadata.deletionTimestamp !== undefined,
    hostNetwork: spec.hostNetwork === true,
    runtimeClass: intern(spec.runtimeClassName ?? ''),
    egressClass: intern(metadata.labels?.[EGRESS_LABEL] ?? ''),
    busy: busyLease(metadata.annotations?.[BUSY_UNTIL_ANNOTATION], metadata.annotations?.[BUSY_WHY_ANNOTATION]),
    cpuActiveAtMs: Date.parse(metadata.annotations?.[CPU_ACTIVE_ANNOTATION] ?? '') || 0,
    createdAtMs: Date.parse(metadata.creationTimestamp ?? '') || 0,
    checkpointed: holds(CHECKPOINTED_CONDITION),
    resumes: holds(RESUMED_CONDITION) ? (metadata.annotations?.[RESTORE_ANNOTATION] ?? '') : '',
    restored: holds(POD_RESTORED_CONDITION),
    ownsAddress: false,
    faults: 0,
    suspectPorts: undefined,
  };
}

/** Labels whose values hardly any two pods share. */
const UNIQUE_LABELS = new Set([NAME_HASH_LABEL, CLAIM_UID_LABEL]);

/** Labels of a Pod, kept apart from the object that they came in. */
export function projectLabels({ metadata }: KubernetesObject): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  for (const [name, value] of Object.entries(metadata.labels ?? {}))
    labels[intern(name)] = UNIQUE_LABELS.has(name) ? Buffer.from(value).toString() : intern(value);
  return labels;
}

/** `10m`, `never`; what can't be read leaves a sandbox awake, as does `never`. */
function idleTimeoutOf(annotation: string | undefined): number | undefined {
  if (annotation === undefined) return undefined;
  if (annotation === 'never') return 0;
  try {
    return parseDurationMs(annotation);
  } catch {
    return 0;
  }
}

/** What can't be read is no floor, and counts nothing. */
function cpuFloorOf(annotation: string | undefined): number | undefined {
  if (annotation === undefined) return undefined;
  try {
    return parseMillicores(annotation);
  } catch {
    return 0;
  }
}

/** What can't be read counts as absent. */
function timeoutsOf(annotation: string | undefined): Partial<Timeouts> | undefined {
  if (annotation === undefined) return undefined;
  try {
    return parseTimeoutList(annotation);
  } catch {
    return undefined;
  }
}

/** Annotation, else the port named http, else the only declared one, else 8888 (design section 4). */
function portOf(annotation: string | undefined, template: PodTemplate | undefined): number {
  const annotated = Number(annotation);
  if (Number.isInteger(annotated) && annotated >= 1 && annotated <= 65_535) return annotated;
  const ports = template?.spec?.containers?.flatMap((container) => container.ports ?? []) ?? [];
  const named = ports.find(({ name }) => name === 'http');
  return named?.containerPort ?? (ports.length === 1 ? ports[0]?.containerPort : undefined) ?? DEFAULT_PORT;
}
