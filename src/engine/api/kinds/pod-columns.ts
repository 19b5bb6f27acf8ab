import { type ApiObject, at, condition, items, text } from '../object.ts';
import { age, ageColumn, nameColumn } from './columns.ts';
import type { Column } from './kind.ts';

/** Columns of `kubectl get pods` (k8s.io/kubernetes pkg/printers/internalversion, printPod). */
export const podColumns: Column[] = [
  nameColumn,
  { name: 'Ready', description: 'Containers that are ready, of all.', value: ready },
  { name: 'Status', description: 'What the Pod is doing.', value: podStatus },
  { name: 'Restarts', description: 'How often containers were started again.', value: restarts },
  ageColumn,
  { name: 'IP', priority: 1, description: 'Address.', value: (pod) => orNone(text(pod, 'status', 'podIP')) },
  { name: 'Node', priority: 1, description: 'Node.', value: (pod) => orNone(text(pod, 'spec', 'nodeName')) },
  {
    name: 'Nominated Node',
    priority: 1,
    description: 'Node it may preempt on.',
    value: (pod) => orNone(text(pod, 'status', 'nominatedNodeName')),
  },
  { name: 'Readiness Gates', priority: 1, description: 'Gates that hold.', value: readinessGates },
];

function orNone(value: string): string {
  return value === '' ? '<none>' : value;
}

/** Init containers that keep running beside the others. */
function isSidecar(pod: ApiObject, name: string): boolean {
  return items(pod, 'spec', 'initContainers').some(
    (container) => text(container, 'name') === name && text(container, 'restartPolicy') === 'Always',
  );
}

function mainStatuses(pod: ApiObject): unknown[] {
  const sidecars = items(pod, 'status', 'initContainerStatuses').filter((status) =>
    isSidecar(pod, text(status, 'name')),
  );
  return [...sidecars, ...items(pod, 'status', 'containerStatuses')];
}

function ready(pod: ApiObject): string {
  const sidecars = items(pod, 'spec', 'initContainers').filter(
    (container) => text(container, 'restartPolicy') === 'Always',
  );
  const total = items(pod, 'spec', 'containers').length + sidecars.length;
  const running = mainStatuses(pod).filter(
    (status) => at(status, 'ready') === true && at(status, 'state', 'running') !== undefined,
  );
  return `${running.length}/${total}`;
}

function restarts(pod: ApiObject, nowMs: number): string {
  const statuses = initializing(pod) !== undefined ? items(pod, 'status', 'initContainerStatuses') : mainStatuses(pod);
  let count = 0;
  let last = '';
  for (const status of statuses) {
    count += Number(at(status, 'restartCount') ?? 0);
    const finished = text(status, 'lastState', 'terminated', 'finishedAt');
    if (finished > last) last = finished;
  }
  return count > 0 && last !== '' ? `${count} (${age(last, nowMs)} ago)` : String(count);
}

function podStatus(pod: ApiObject): string {
  const phase = text(pod, 'status', 'reason') || text(pod, 'status', 'phase');
  let status = initializing(pod) ?? containersStatus(pod, phase);
  const scheduled = condition(pod, 'PodScheduled');
  if (scheduled?.status === 'False' && scheduled.reason === 'SchedulingGated') status = 'SchedulingGated';
  if (pod.metadata.deletionTimestamp === undefined) return status;
  return text(pod, 'status', 'reason') === 'NodeLost'
    ? 'Unknown'
    : phase === 'Succeeded' || phase === 'Failed'
      ? status
      : 'Terminating';
}

/** `Init:…` while init containers are still at work. */
function initializing(pod: ApiObject): string | undefined {
  const total = items(pod, 'spec', 'initContainers').length;
  for (const [index, status] of items(pod, 'status', 'initContainerStatuses').entries()) {
    const terminated = at(status, 'state', 'terminated');
    if (terminated !== undefined && Number(at(terminated, 'exitCode')) === 0) continue;
    if (at(status, 'started') === true && isSidecar(pod, text(status, 'name'))) continue;
    if (terminated !== undefined) return `Init:${terminatedWords(terminated)}`;
    const waiting = text(status, 'state', 'waiting', 'reason');
    return waiting !== '' && waiting !== 'PodInitializing' ? `Init:${waiting}` : `Init:${index}/${total}`;
  }
  return undefined;
}

function containersStatus(pod: ApiObject, phase: string): string {
  let status = phase;
  let hasRunning = false;
  for (const container of items(pod, 'status', 'containerStatuses').toReversed()) {
    const waiting = text(container, 'state', 'waiting', 'reason');
    const terminated = at(container, 'state', 'terminated');
    if (waiting !== '') status = waiting;
    else if (terminated !== undefined) status = terminatedWords(terminated);
    else if (at(container, 'ready') === true && at(container, 'state', 'running') !== undefined) hasRunning = true;
  }
  if (status !== 'Completed' || !hasRunning) return status;
  return condition(pod, 'Ready')?.status === 'True' ? 'Running' : 'NotReady';
}

function terminatedWords(terminated: unknown): string {
  const reason = text(terminated, 'reason');
  if (reason !== '') return reason;
  const signal = Number(at(terminated, 'signal') ?? 0);
  return signal !== 0 ? `Signal:${signal}` : `ExitCode:${text(terminated, 'exitCode')}`;
}

function readinessGates(pod: ApiObject): string {
  const gates = items(pod, 'spec', 'readinessGates');
  if (gates.length === 0) return '<none>';
  const holding = gates.filter((gate) => condition(pod, text(gate, 'conditionType'))?.status === 'True');
  return `${holding.length}/${gates.length}`;
}
