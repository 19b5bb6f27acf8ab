import {
  CHECKPOINTED_CONDITION,
  type Condition,
  type Container,
  type ContainerStatus,
  POD_RESTORED_CONDITION,
  type Pod,
  RESUMED_CONDITION,
} from '../../../kubernetes/index.ts';
import { conditionOf, mergeConditions, rfc3339, type WantedCondition } from '../conditions.ts';

/** Why a container waits of which nobody can tell whether it runs: as long as that is so, nothing is done to it. */
export const CONTAINER_STATUS_UNKNOWN = 'ContainerStatusUnknown';

/** How a container ended. */
export interface ContainerEnd {
  exitCode: number;
  /** In the words of a kubelet, where more is known than the exit code. */
  reason?: 'OOMKilled';
  /** The last lines that it said. */
  message: string;
  /** RFC 3339 */
  finishedAt: string;
}

/** What the engine knows of a container now. */
export type ContainerPhase =
  | { phase: 'waiting'; reason: string; message?: string }
  | { phase: 'running'; ready: boolean }
  | { phase: 'stopped-for-snapshot' }
  | ({ phase: 'ended'; restartInMs?: number } & ContainerEnd);

/** All that the status of one container is made of. */
export interface ContainerFindings {
  container: Container;
  phase: ContainerPhase;
  id?: string | undefined;
  /** Image with the digest that runs. */
  imageId?: string | undefined;
  startedAt?: string | undefined;
  restartCount: number;
  /** Whether it passed its startup probe. */
  started: boolean;
  /** The way in which it ended last, while it runs again. */
  lastEnd?: ContainerEnd | undefined;
}

/** All that a Pod's status is made of. */
export interface PodFindings {
  pod: Pod;
  containers: ContainerFindings[];
  /** `sidecar`: it stays, and counts for readiness. */
  initContainers: (ContainerFindings & { sidecar: boolean; completed: boolean })[];
  address?: string | undefined;
  checkpoint?: { status: 'True' | 'False' | 'Unknown'; message: string } | undefined;
  /** Whether its limits are kept, where it has some. */
  limits?: WantedCondition | undefined;
  /** What came of restoring it from a PodSnapshot; what its status says already stays true when this is absent. */
  restored?: { status: 'True' | 'False'; reason: string; message: string } | undefined;
  /** Connections to the Pod that it was restored from go on with it; stays true as well. */
  resumed?: boolean | undefined;
}

const CHECKPOINT_REASONS = { True: 'SnapshotTaken', False: 'SnapshotFailed', Unknown: 'SnapshotInProgress' };

/** The status that a kubelet would write. */
export function podStatus(findings: PodFindings, now: Date): NonNullable<Pod['status']> {
  const { pod, containers, initContainers, address } = findings;
  const staying = [...initContainers.filter(({ sidecar }) => sidecar), ...containers];
  // What is being stopped must be sent nothing any more.
  const stopping = findings.checkpoint?.status === 'Unknown';
  const unready = staying.filter((each) => stopping || !isReady(each)).map(({ container }) => container.name);
  const incomplete = initContainers
    .filter(({ sidecar, completed, started }) => !(sidecar ? started : completed))
    .map(({ container }) => container.name);
  const wanted: WantedCondition[] = [
    { type: 'PodScheduled', status: 'True' },
    without('Initialized', incomplete, 'ContainersNotInitialized', 'incomplete'),
    without('ContainersReady', unready, 'ContainersNotReady', 'unready'),
    without('Ready', unready, 'ContainersNotReady', 'unready'),
  ];
  const restored = findings.restored ?? conditionOf(pod, POD_RESTORED_CONDITION);
  if (restored !== undefined) {
    const { status, reason = '', message = '' } = restored;
    wanted.push({ type: POD_RESTORED_CONDITION, status, reason, message });
  }
  if (findings.resumed === true || conditionOf(pod, RESUMED_CONDITION)?.status === 'True')
    wanted.push({ type: RESUMED_CONDITION, status: 'True', reason: 'SameMemoryAndAddress' });
  if (findings.checkpoint !== undefined) {
    const { status, message } = findings.checkpoint;
    wanted.push({
      type: CHECKPOINTED_CONDITION,
      status,
      reason: CHECKPOINT_REASONS[status],
      message,
    });
  }
  if (findings.limits !== undefined) wanted.push(findings.limits);
  const conditions: Condition[] = mergeConditions(pod.status?.conditions, wanted, now);
  return {
    phase: phaseOf(findings, incomplete.length > 0),
    conditions,
    hostIP: '127.0.0.1',
    ...(address === undefined ? {} : { podIP: address, podIPs: [{ ip: address }] }),
    startTime: pod.status?.startTime ?? rfc3339(now),
    ...(initContainers.length === 0 ? {} : { initContainerStatuses: initContainers.map(initStatus) }),
    containerStatuses: containers.map((each) => containerStatus(each, isReady(each))),
  };
}

function isReady({ phase }: ContainerFindings): boolean {
  return phase.phase === 'running' && phase.ready;
}

function without(type: string, missing: string[], reason: string, what: string): WantedCondition {
  if (missing.length === 0) return { type, status: 'True' };
  return { type, status: 'False', reason, message: `containers with ${what} status: [${missing.join(' ')}]` };
}

/** Kubernetes' pod phase (pkg/kubelet, getPhase). */
function phaseOf(
  { pod, containers, initContainers }: PodFindings,
  initializing: boolean,
): NonNullable<Pod['status']>['phase'] {
  const ended = ({ phase }: ContainerFindings) => phase.phase === 'ended' && phase.restartInMs === undefined;
  if (initializing && initContainers.some((each) => ended(each) && !each.completed)) return 'Failed';
  if (containers.every(ended))
    return containers.every(({ phase }) => phase.phase === 'ended' && phase.exitCode === 0) ? 'Succeeded' : 'Failed';
  if (initializing) return 'Pending';
  const waiting = containers.flatMap(({ phase }) => (phase.phase === 'waiting' ? [phase] : []));
  if (waiting.length === 0) return 'Running';
  const wasRunning = pod.status?.phase === 'Running';
  return wasRunning &&
    (containers.length > waiting.length || waiting.every(({ reason }) => reason === 'CrashLoopBackOff'))
    ? 'Running'
    : 'Pending';
}

function initStatus(findings: PodFindings['initContainers'][number]): ContainerStatus {
  return containerStatus(findings, findings.sidecar ? isReady(findings) : findings.completed);
}

function containerStatus(findings: ContainerFindings, ready: boolean): ContainerStatus {
  const { container, phase, restartCount, lastEnd, id, startedAt, started } = findings;
  const terminated = (end: ContainerEnd) => ({
    terminated: {
      exitCode: end.exitCode,
      reason: end.reason ?? (end.exitCode === 0 ? 'Completed' : 'Error'),
      message: end.message,
      finishedAt: end.finishedAt,
    },
  });
  const base = {
    name: container.name,
    image: container.image,
    imageID: findings.imageId ?? container.image,
    ready,
    restartCount,
    started,
    ...(id === undefined ? {} : { containerID: `sandbox-router://${id}` }),
    ...(lastEnd === undefined ? {} : { lastState: terminated(lastEnd) }),
  };
  switch (phase.phase) {
    case 'running':
      return { ...base, state: { running: startedAt === undefined ? {} : { startedAt } } };
    case 'waiting': {
      const { reason, message } = phase;
      return { ...base, state: { waiting: message === undefined ? { reason } : { reason, message } } };
    }
    case 'stopped-for-snapshot':
      return { ...base, state: { waiting: { reason: 'SnapshotTaken' } } };
    case 'ended': {
      if (phase.restartInMs === undefined) return { ...base, state: terminated(phase) };
      const message = `back-off ${Math.round(phase.restartInMs / 1000)}s restarting failed container=${container.name}`;
      return { ...base, state: { waiting: { reason: 'CrashLoopBackOff', message } }, lastState: terminated(phase) };
    }
  }
}
