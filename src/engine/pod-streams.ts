import type { Pod } from '../kubernetes/index.ts';
import type { PodStreams } from './api/index.ts';
import type { MachinePrograms } from './machine-program.ts';
import { sharesSandbox } from './pod-containers.ts';
import { type ContainerIds, type ContainerRuntime, memberId, RuntimeError } from './runtime/index.ts';

/** Ways into the containers that a runtime runs for Pods, and to the programs that other Pods stand for. */
export function createPodStreams(
  runtime: ContainerRuntime,
  containers: ContainerIds,
  programs: MachinePrograms,
): PodStreams {
  return {
    exec: async (pod, { container, command, terminal }) => {
      const uid = pod.metadata.uid ?? '';
      const id = sharesSandbox(pod as unknown as Pod) ? memberId(uid, container) : containers.of(uid);
      const { state } = await runtime.state(id);
      if (state !== 'running')
        throw new RuntimeError('not_running', `container ${container} of pod ${pod.metadata.name} does not run`);
      return runtime.attachedExec(id, command, { terminal });
    },
    connect: (pod, port) => {
      const program = programs.get(pod.metadata.uid ?? '');
      if (program !== undefined) {
        if (port !== program.port) throw new RuntimeError('connect_failed', `nothing answers on port ${port}`);
        return program.connect();
      }
      const { podIP = '' } = (pod.status ?? {}) as { podIP?: string };
      return runtime.connect(containers.of(pod.metadata.uid ?? ''), podIP, port);
    },
  };
}
