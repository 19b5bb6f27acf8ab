import { NAME_HASH_LABEL, nameHash, type Pod, type Sandbox } from '../../../kubernetes/index.ts';
import type { WantedCondition } from '../conditions.ts';

/** What the controller found out about the suspension of a Sandbox, as its Suspended condition tells it. */
export interface SuspendedState {
  status: 'True' | 'False';
  reason: 'PodTerminated' | 'NotSuspended' | 'PodTerminating' | 'PodNotOwned' | 'SnapshotFailed';
  message: string;
}

/** What a Sandbox's status is made of. */
export interface SandboxFindings {
  sandbox: Sandbox;
  pod: Pod | undefined;
  suspended: SuspendedState;
  /** Several Pods of one Sandbox (contract section 2.2). */
  multiplePods: boolean;
  expired: boolean;
}

/** The status of a Sandbox, conditions in the contract's order: Suspended, Finished, PodScheduled, Ready (section 2.4). */
export function sandboxStatus(findings: SandboxFindings): {
  conditions: WantedCondition[];
  rest: Omit<NonNullable<Sandbox['status']>, 'conditions'>;
} {
  const { sandbox, pod, suspended, expired } = findings;
  const observedGeneration = sandbox.metadata.generation ?? 0;
  const finished =
    pod?.status?.phase === 'Succeeded' ? 'PodSucceeded' : pod?.status?.phase === 'Failed' ? 'PodFailed' : undefined;
  const conditions: Omit<WantedCondition, 'observedGeneration'>[] = [{ type: 'Suspended', ...suspended }];
  if (finished !== undefined)
    conditions.push({
      type: 'Finished',
      status: 'True',
      reason: finished,
      message: whyNotReady(pod) || 'Pod has ended',
    });
  if (pod !== undefined && !expired) conditions.push(podScheduled(pod));
  conditions.push(readyCondition(findings, finished));
  const podIPs = pod?.status?.podIPs?.map(({ ip }) => ip);
  return {
    conditions: conditions.map((condition) => ({ ...condition, observedGeneration })),
    rest: {
      selector: `${NAME_HASH_LABEL}=${nameHash(sandbox.metadata.name)}`,
      ...(podIPs === undefined || podIPs.length === 0 ? {} : { podIPs }),
      ...(pod?.spec.nodeName === undefined ? {} : { nodeName: pod.spec.nodeName }),
    },
  };
}

function podScheduled(pod: Pod): Omit<WantedCondition, 'observedGeneration'> {
  const found = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
  if (found === undefined)
    return { type: 'PodScheduled', status: 'Unknown', reason: 'PodSchedulingUnknown', message: '' };
  return {
    type: 'PodScheduled',
    status: found.status,
    reason: found.reason || 'PodScheduled',
    message: found.message ?? '',
  };
}

function readyCondition(
  findings: SandboxFindings,
  finished: string | undefined,
): Omit<WantedCondition, 'observedGeneration'> {
  const { sandbox, pod, suspended, multiplePods, expired } = findings;
  const no = (reason: string, message: string) => ({ type: 'Ready', status: 'False', reason, message }) as const;
  if (expired) return no('SandboxExpired', 'Sandbox has expired');
  if (multiplePods) return no('MultiplePods', 'More than one Pod belongs to the Sandbox');
  const suspending =
    sandbox.spec.operatingMode === 'Suspended' &&
    suspended.reason !== 'SnapshotFailed' &&
    suspended.reason !== 'PodNotOwned';
  if (suspending)
    return no('SandboxSuspended', suspended.status === 'True' ? 'Sandbox is suspended' : 'Sandbox is suspending');
  if (finished !== undefined) return no(finished, whyNotReady(pod) || 'Pod has ended');
  if (pod === undefined) return no('DependenciesNotReady', 'Pod does not exist');
  const restoreFailure = pod.status?.containerStatuses?.find(
    ({ state }) => state?.waiting?.reason === 'SnapshotRestoreFailed',
  );
  if (restoreFailure !== undefined)
    return no('SnapshotRestoreFailed', restoreFailure.state?.waiting?.message ?? 'The snapshot could not be restored');
  const phase = pod.status?.phase ?? 'Pending';
  const because = (text: string) => [text, whyNotReady(pod)].filter((part) => part !== '').join(': ');
  if (phase !== 'Running') return no('DependenciesNotReady', because(`Pod exists with phase: ${phase}`));
  if (!pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'))
    return no('DependenciesNotReady', because('Pod is Running but not Ready'));
  if ((pod.status.podIPs ?? []).length === 0) return no('DependenciesNotReady', 'Pod is Ready but has no podIPs yet');
  return { type: 'Ready', status: 'True', reason: 'DependenciesReady', message: 'Pod is Ready' };
}

/** Why a Pod's containers don't run, with what they said last; empty if nothing is known. Upstream's messages end before it. */
function whyNotReady(pod: Pod | undefined): string {
  if (pod?.status?.message !== undefined) return pod.status.message;
  for (const { name, state, lastState } of pod?.status?.containerStatuses ?? []) {
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
