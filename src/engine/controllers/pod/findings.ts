import type { Pod } from '../../../kubernetes/index.ts';
import { mainContainer } from './container-spec.ts';
import type { LocalPod } from './local-pods.ts';
import { isCompleted, type Member } from './members.ts';
import type { ContainerFindings, PodFindings } from './status.ts';

/** What is known of a Pod of this machine, for its status. */
export function findingsOf(pod: Pod, local: LocalPod): PodFindings {
  const { record, checkpoint, restored, resumed, members } = local;
  const ofPod = { pod, address: record.address || undefined, checkpoint, restored, resumed };
  if (members === undefined) return { ...ofPod, containers: [onlyContainer(pod, local)], initContainers: [] };
  return {
    ...ofPod,
    containers: members.filter(({ kind }) => kind === 'main').map((member) => ofMember(member, local)),
    initContainers: members
      .filter(({ kind }) => kind !== 'main')
      .map((member) => ({
        ...ofMember(member, local),
        sidecar: member.kind === 'sidecar',
        completed: isCompleted(member),
      })),
  };
}

function onlyContainer(pod: Pod, { record, container, lastEnd, isStarting }: LocalPod): ContainerFindings {
  return {
    container: mainContainer(pod),
    phase: container,
    id: record.containerId,
    imageId: record.image?.id,
    startedAt: record.startedAt,
    restartCount: record.restartCount,
    started: container.phase === 'running' && isStarting !== true,
    lastEnd,
  };
}

/** While there is no sandbox, what keeps it from being there keeps each container. */
function ofMember(member: Member, { container: sandbox }: LocalPod): ContainerFindings {
  const { container, id, record, started, lastEnd } = member;
  const held =
    sandbox.phase === 'stopped-for-snapshot' || (sandbox.phase === 'waiting' && sandbox.reason !== 'ContainerCreating');
  const phase = held && !isCompleted(member) ? sandbox : member.phase;
  return {
    container,
    phase,
    id,
    imageId: record.image?.id,
    startedAt: record.startedAt,
    restartCount: record.restartCount,
    started: started && phase.phase === 'running',
    lastEnd,
  };
}
