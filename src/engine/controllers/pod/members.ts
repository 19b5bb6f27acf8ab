import type { Container, Pod } from '../../../kubernetes/index.ts';
import type { PulledImage } from '../../images/index.ts';
import { sharesSandbox } from '../../pod-containers.ts';
import { memberId } from '../../runtime/index.ts';
import type { ContainerEnd, ContainerPhase } from './status.ts';

/** What must be known of a container of several after a restart of the engine. */
export interface MemberRecord {
  restartCount: number;
  /** RFC 3339; absent until it was started. */
  startedAt?: string;
  /** Content of the image that it was started from; absent for the built-in one. */
  image?: PulledImage;
  /** Of a template's seed: hash of what its processes were started with, see `processRevision`. */
  processes?: string;
  /** How it ended, until it is started again. */
  end?: ContainerEnd;
}

/** One of several containers in a Pod's sandbox. */
export interface Member {
  container: Container;
  /** `init` ends before the next begins; `sidecar` is begun like it and stays; `main` are begun after them, together. */
  kind: 'init' | 'sidecar' | 'main';
  id: string;
  record: MemberRecord;
  phase: ContainerPhase;
  lastEnd?: ContainerEnd;
  /** It runs, and what waits for it may go on. */
  started: boolean;
  /** Its `postStart` is under way, and those after it are not begun. */
  isHooked?: boolean;
  /** Ends its probes and the watch for its end. */
  following?: AbortController;
  restartTimer?: NodeJS.Timeout;
}

/** The containers of a Pod that share a sandbox, in the order in which they are begun; undefined where there is only one. */
export function membersOf(pod: Pod, records: Record<string, MemberRecord>): Member[] | undefined {
  if (!sharesSandbox(pod)) return undefined;
  const reason = (pod.spec.initContainers ?? []).length === 0 ? 'ContainerCreating' : 'PodInitializing';
  const member = (container: Container, kind: Member['kind']): Member => {
    records[container.name] ??= { restartCount: 0 };
    return {
      container,
      kind,
      id: memberId(pod.metadata.uid ?? '', container.name),
      record: records[container.name] as MemberRecord,
      phase: { phase: 'waiting', reason },
      started: false,
    };
  };
  return [
    ...(pod.spec.initContainers ?? []).map((container) =>
      member(container, container.restartPolicy === 'Always' ? 'sidecar' : 'init'),
    ),
    ...pod.spec.containers.map((container) => member(container, 'main')),
  ];
}

/** The next thing to do for the containers of a sandbox that runs. */
export type MemberStep = { start: Member[] } | { end: 'Succeeded' | 'Failed' } | undefined;

/**
 * What Kubernetes' order asks for: init containers one after the other, sidecars among them once they have started, then all others; the end of these is
 * the end of the Pod. Undefined while there is nothing to do but wait.
 */
export function nextStep(members: readonly Member[]): MemberStep {
  for (const member of members) {
    if (member.kind === 'init' && !isCompleted(member)) {
      if (member.phase.phase === 'ended' && member.phase.restartInMs === undefined) return { end: 'Failed' };
      return wantsStart(member) ? { start: [member] } : undefined;
    }
    if (member.kind === 'sidecar') {
      if (wantsStart(member)) return { start: [member] };
      if (!member.started) return undefined;
    }
  }
  const main = members.filter(({ kind }) => kind === 'main');
  const ends = main.map(({ phase }) =>
    phase.phase === 'ended' && phase.restartInMs === undefined ? phase.exitCode : undefined,
  );
  if (ends.every((exitCode) => exitCode !== undefined))
    return { end: ends.every((exitCode) => exitCode === 0) ? 'Succeeded' : 'Failed' };
  const start = begunTogether(main);
  return start.length === 0 ? undefined : { start };
}

/** Those that should run and do not, up to one whose `postStart` has to be over before the next is begun. */
function begunTogether(members: readonly Member[]): Member[] {
  const start: Member[] = [];
  for (const member of members) {
    if (member.isHooked === true) break;
    if (!wantsStart(member)) continue;
    start.push(member);
    if (member.container.lifecycle?.postStart !== undefined) break;
  }
  return start;
}

/** Whether it is an init container that has done its work. */
export function isCompleted({ kind, record }: Member): boolean {
  return kind === 'init' && record.end?.exitCode === 0;
}

/** Whether a container that does not run should, now. */
function wantsStart({ phase, restartTimer }: Member): boolean {
  if (restartTimer !== undefined) return false;
  return phase.phase === 'waiting' || (phase.phase === 'ended' && phase.restartInMs !== undefined);
}

/** Whether a container that ended is started again. */
export function restartsAfter(pod: Pod, kind: Member['kind'], exitCode: number): boolean {
  const policy = pod.spec.restartPolicy ?? 'Always';
  if (kind === 'sidecar') return true;
  if (kind === 'init') return exitCode !== 0 && policy !== 'Never';
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}
