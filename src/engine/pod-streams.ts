import type { PodStreams } from './api/index.ts';
import { type ContainerIds, type ContainerRuntime, RuntimeError } from './runtime/index.ts';

/** Ways into the containers that a runtime runs for Pods. */
export function createPodStreams(runtime: ContainerRuntime, containers: ContainerIds): PodStreams {
  return {
    exec: async (pod, { command, terminal }) => {
      const id = containers.of(pod.metadata.uid ?? '');
      const { state } = await runtime.state(id);
      if (state !== 'running')
        throw new RuntimeError('not_running', `the container of pod ${pod.metadata.name} does not run`);
      return runtime.attachedExec(id, command, { terminal });
    },
    connect: (pod, port) => {
      const { podIP = '' } = (pod.status ?? {}) as { podIP?: string };
      return runtime.connect(containers.of(pod.metadata.uid ?? ''), podIP, port);
    },
  };
}
