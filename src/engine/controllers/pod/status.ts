import {
  CHECKPOINTED_CONDITION,
  type Condition,
  type ContainerStatus,
  POD_RESTORED_CONDITION,
  type Pod,
  RESUMED_CONDITION,
} from '../../../kubernetes/index.ts';
import { conditionOf, mergeConditions, rfc3339, type WantedCondition } from '../conditions.ts';

/** What the engine knows of a Pod's container now. */
export type ContainerPhase =
  | { phase: 'waiting'; reason: string; message?: string }
  | { phase: 'running'; ready: boolean }
  | { phase: 'stopped-for-snapshot' }
  | { phase: 'ended'; exitCode: number; message: string; finishedAt: string; restartInMs?: number };

/** All that a Pod's status is made of. */
export interface PodFindings {
  pod: Pod;
  container: ContainerPhase;
  containerId?: string;
  /** Image with the digest that runs. */
  imageId?: string | undefined;
  address?: string | undefined;
  startedAt?: string | undefined;
  restartCount: number;
  /** The way in which the container ended last, while it runs again. */
  lastEnd?: { exitCode: number; message: string; finishedAt: string } | undefined;
  checkpoint?: { status: 'True' | 'False'; message: string } | undefined;
  /** What came of restoring it from a PodSnapshot; what its status says already stays true when this is absent. */
  restored?: { status: 'True' | 'False'; reason: string; message: string } | undefined;
  /** Connections to the Pod that it was restored from go on with it; stays true as well. */
  resumed?: boolean | undefined;
}

/** The status that a kubelet would write. */
export function podStatus(findings: PodFindings, now: Date): NonNullable<Pod['status']> {
  const { pod, container, address, startedAt } = findings;
  const [main] = pod.spec.containers;
  const phase = phaseOf(pod, container);
  const ready = container.phase === 'running' && container.ready;
  const wanted: WantedCondition[] = [
    { type: 'PodScheduled', status: 'True' },
    { type: 'Initialized', status: 'True' },
    readiness('ContainersReady', ready, main?.name ?? ''),
    readiness('Ready', ready, main?.name ?? ''),
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
      reason: status === 'True' ? 'SnapshotTaken' : 'SnapshotFailed',
      message,
    });
  }
  const conditions: Condition[] = mergeConditions(pod.status?.conditions, wanted, now);
  return {
    phase,
    conditions,
    hostIP: '127.0.0.1',
    ...(address === undefined ? {} : { podIP: address, podIPs: [{ ip: address }] }),
    startTime: pod.status?.startTime ?? rfc3339(now),
    containerStatuses: [containerStatus(findings, main?.name ?? '', main?.image ?? '', startedAt, ready)],
  };
}

function readiness(type: string, ready: boolean, container: string): WantedCondition {
  if (ready) return { type, status: 'True' };
  return {
    type,
    status: 'False',
    reason: 'ContainersNotReady',
    message: `containers with unready status: [${container}]`,
  };
}

function phaseOf(pod: Pod, container: ContainerPhase): 'Pending' | 'Running' | 'Succeeded' | 'Failed' {
  if (container.phase === 'waiting')
    return pod.status?.phase === 'Running' && container.reason === 'CrashLoopBackOff' ? 'Running' : 'Pending';
  if (container.phase !== 'ended' || container.restartInMs !== undefined) return 'Running';
  return container.exitCode === 0 ? 'Succeeded' : 'Failed';
}

function containerStatus(
  findings: PodFindings,
  name: string,
  image: string,
  startedAt: string | undefined,
  ready: boolean,
): ContainerStatus {
  const { container, restartCount, lastEnd, containerId } = findings;
  const terminated = (end: { exitCode: number; message: string; finishedAt: string }) => ({
    terminated: {
      exitCode: end.exitCode,
      reason: end.exitCode === 0 ? 'Completed' : 'Error',
      message: end.message,
      finishedAt: end.finishedAt,
    },
  });
  const base = {
    name,
    image,
    imageID: findings.imageId ?? image,
    ready,
    restartCount,
    started: container.phase === 'running',
    ...(containerId === undefined ? {} : { containerID: `sandbox-router://${containerId}` }),
    ...(lastEnd === undefined ? {} : { lastState: terminated(lastEnd) }),
  };
  switch (container.phase) {
    case 'running':
      return { ...base, state: { running: startedAt === undefined ? {} : { startedAt } } };
    case 'waiting': {
      const { reason, message } = container;
      return { ...base, state: { waiting: message === undefined ? { reason } : { reason, message } } };
    }
    case 'stopped-for-snapshot':
      return { ...base, state: { waiting: { reason: 'SnapshotTaken' } } };
    case 'ended': {
      if (container.restartInMs === undefined) return { ...base, state: terminated(container) };
      const message = `back-off ${Math.round(container.restartInMs / 1000)}s restarting failed container=${name}`;
      return { ...base, state: { waiting: { reason: 'CrashLoopBackOff', message } }, lastState: terminated(container) };
    }
  }
}
