import {
  type Condition,
  ISOLATED_CONDITION,
  NAME_HASH_LABEL,
  nameHash,
  type Pod,
  type Sandbox,
  type Service,
} from '../../../kubernetes/index.ts';
import { conditionOf, mergeConditions, type WantedCondition } from '../conditions.ts';
import { ownershipOf } from './ownership.ts';

/** The conditions that this controller writes, in the contract's order (section 2.4); others on a Sandbox are left alone. */
const OWNED = ['Suspended', 'Finished', 'PodScheduled', 'Ready', ISOLATED_CONDITION];

/** What the controller found out about the suspension of a Sandbox, as its Suspended condition tells it. */
export interface SuspendedState {
  status: 'True' | 'False' | 'Unknown';
  reason: 'PodTerminated' | 'NotSuspended' | 'PodTerminating' | 'PodNotOwned' | 'PodStateUnknown' | 'SnapshotFailed';
  message: string;
}

/** Why the Pod of a Sandbox could not be brought to where it should be. */
export interface Trouble {
  reason: 'MultiplePods' | 'ReconcilerError' | 'SnapshotRestoreFailed';
  message: string;
}

/** What a Sandbox's status is made of. */
export interface SandboxFindings {
  sandbox: Sandbox;
  /** The Pod of the Sandbox's name, its own or not; undefined when there is none, or (with `podTrouble`) when that is not known. */
  pod?: Pod | undefined;
  service?: Service | undefined;
  suspended: SuspendedState;
  /** Trouble with the Pod. */
  podTrouble?: Trouble | undefined;
  /** Trouble with the Pod, the Service or the claims; the first. */
  trouble?: Trouble | undefined;
  /** Why Sandboxes are not isolated here; undefined where they are. */
  notIsolated?: string | undefined;
  clusterDomain: string;
}

type Status = NonNullable<Sandbox['status']>;

/** The status of a Sandbox that is not expired (contract sections 2.3 to 2.5). */
export function sandboxStatus(findings: SandboxFindings, now: Date): Status {
  const { sandbox, pod, service, clusterDomain } = findings;
  const own = pod !== undefined && ownershipOf(pod, sandbox) === 'ours' ? pod : undefined;
  const podIPs = own?.status?.podIPs?.map(({ ip }) => ip) ?? [];
  const selector =
    pod === undefined ? sandbox.status?.selector : `${NAME_HASH_LABEL}=${nameHash(sandbox.metadata.name)}`;
  return {
    conditions: mergeConditions(sandbox.status?.conditions, conditionsOf(findings, own), now, OWNED),
    ...(selector === undefined ? {} : { selector }),
    ...(podIPs.length === 0 ? {} : { podIPs }),
    ...(own?.spec.nodeName === undefined ? {} : { nodeName: own.spec.nodeName }),
    ...(service === undefined
      ? {}
      : {
          service: service.metadata.name,
          serviceFQDN: `${service.metadata.name}.${service.metadata.namespace}.svc.${clusterDomain}`,
        }),
  };
}

/** The status of a Sandbox whose shutdownTime has come: first as it is seen, then (`reduced`) conditions only (contract section 2.6). */
export function expiredStatus(sandbox: Sandbox, reduced: boolean, now: Date): Status {
  const kept = (sandbox.status?.conditions ?? []).filter(({ type }) => type !== 'PodScheduled' && type !== 'Ready');
  const ready: WantedCondition = {
    type: 'Ready',
    status: 'False',
    reason: 'SandboxExpired',
    message: 'Sandbox has expired',
    observedGeneration: sandbox.metadata.generation ?? 0,
  };
  const before = conditionOf(sandbox, 'Ready');
  const conditions = [...kept, ...mergeConditions(before === undefined ? [] : [before], [ready], now)];
  conditions.sort((left, right) => rank(left) - rank(right));
  return { ...(reduced ? {} : sandbox.status), conditions };
}

function rank({ type }: Condition): number {
  const index = OWNED.indexOf(type);
  return index === -1 ? OWNED.length : index;
}

function conditionsOf(findings: SandboxFindings, own: Pod | undefined): WantedCondition[] {
  const { sandbox, suspended, notIsolated } = findings;
  const conditions = [
    { type: 'Suspended', ...suspended },
    finishedCondition(own),
    scheduledCondition(findings, own),
    { type: 'Ready', ...readyCondition(findings) },
    notIsolated === undefined
      ? undefined
      : { type: ISOLATED_CONDITION, status: 'False' as const, reason: 'NoIsolation', message: notIsolated },
  ].filter((condition) => condition !== undefined);
  const observedGeneration = sandbox.metadata.generation ?? 0;
  return conditions.map((condition) => ({ ...condition, observedGeneration }));
}

function finishedCondition(own: Pod | undefined): WantedCondition | undefined {
  const end = own === undefined ? undefined : endOf(own);
  return end === undefined ? undefined : { type: 'Finished', status: 'True', ...end };
}

/** Reason and message of a Pod that ended for good. */
function endOf(pod: Pod): { reason: string; message: string } | undefined {
  if (pod.status?.phase === 'Succeeded') return { reason: 'PodSucceeded', message: 'Pod completed successfully' };
  if (pod.status?.phase === 'Failed') return { reason: 'PodFailed', message: because('Pod failed', pod) };
  return undefined;
}

function scheduledCondition({ podTrouble, pod }: SandboxFindings, own: Pod | undefined): WantedCondition | undefined {
  const unknown = (message: string): WantedCondition => ({
    type: 'PodScheduled',
    status: 'Unknown',
    reason: 'PodSchedulingUnknown',
    message,
  });
  if (pod === undefined && podTrouble !== undefined)
    return unknown('Pod state is unknown. Pod scheduling cannot be determined');
  if (own === undefined) return undefined;
  const found = conditionOf(own, 'PodScheduled');
  if (found === undefined) return unknown('Pod has not reported a PodScheduled condition yet');
  const filler = found.status === 'True' ? 'PodScheduled' : 'PodSchedulingUnknown';
  return {
    type: 'PodScheduled',
    status: found.status,
    reason: found.reason || filler,
    message: found.message ?? '',
  };
}

function readyCondition(findings: SandboxFindings): { status: 'True' | 'False'; reason: string; message: string } {
  const { sandbox, pod, suspended, trouble } = findings;
  const no = (reason: string, message: string) => ({ status: 'False', reason, message }) as const;
  if (trouble !== undefined)
    return no(
      trouble.reason,
      trouble.reason === 'ReconcilerError' ? `Error seen: ${trouble.message}` : trouble.message,
    );
  // A pause whose snapshot failed did not happen: the Pod is as ready as it is.
  if (sandbox.spec.operatingMode === 'Suspended' && suspended.reason !== 'SnapshotFailed')
    return no('SandboxSuspended', pod === undefined ? 'Sandbox is suspended' : 'Sandbox is suspending');
  const end = pod === undefined ? undefined : endOf(pod);
  if (end !== undefined) return no(end.reason, end.message);
  const failed = pod === undefined ? undefined : restoreFailure(pod);
  if (failed !== undefined) return no('SnapshotRestoreFailed', failed);
  const { ready, message } = podReadiness(pod);
  const wantsService = sandbox.spec.service ?? findings.service !== undefined;
  const there = findings.service !== undefined;
  const suffix = !wantsService ? '' : there ? '; Service Exists' : '; Service does not exist';
  if (ready && (there || !wantsService))
    return { status: 'True', reason: 'DependenciesReady', message: message + suffix };
  return no('DependenciesNotReady', because(message + suffix, ready ? undefined : pod));
}

function podReadiness(pod: Pod | undefined): { ready: boolean; message: string } {
  if (pod === undefined) return { ready: false, message: 'Pod does not exist' };
  const phase = pod.status?.phase ?? '';
  if (phase !== 'Running') return { ready: false, message: `Pod exists with phase: ${phase}` };
  if (conditionOf(pod, 'Ready')?.status !== 'True') return { ready: false, message: 'Pod is Running but not Ready' };
  if ((pod.status?.podIPs ?? []).length === 0) return { ready: false, message: 'Pod is Ready but has no podIPs yet' };
  return { ready: true, message: 'Pod is Ready' };
}

/** Why a Pod could not be restored; undefined when that is not its trouble. */
export function restoreFailure(pod: Pod): string | undefined {
  const failed = pod.status?.containerStatuses?.find(({ state }) => state?.waiting?.reason === 'SnapshotRestoreFailed');
  return failed === undefined ? undefined : (failed.state?.waiting?.message ?? 'The snapshot could not be restored');
}

/** Upstream's message, and behind it why the Pod's container does not run, with what it said last. */
function because(message: string, pod: Pod | undefined): string {
  const why = pod === undefined ? '' : whyNotRunning(pod);
  return why === '' ? message : `${message}: ${why}`;
}

function whyNotRunning({ status }: Pod): string {
  if (status?.message) return status.message;
  for (const { name, state, lastState } of status?.containerStatuses ?? []) {
    const ended = state?.terminated ?? lastState?.terminated;
    const waiting = state?.waiting;
    if (ended !== undefined && state?.running === undefined) {
      const reason = waiting?.reason === undefined ? '' : ` (${waiting.reason})`;
      return `container ${name} exited with code ${ended.exitCode}${reason}${ended.message ? `; its last lines: ${ended.message}` : ''}`;
    }
    if (waiting?.message !== undefined) return `container ${name}: ${waiting.reason ?? 'Waiting'}: ${waiting.message}`;
  }
  return '';
}
