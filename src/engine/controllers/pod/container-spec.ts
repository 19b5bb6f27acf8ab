import type { Container, Pod } from '../../../kubernetes/index.ts';
import type { ImageRoot } from '../../images/index.ts';
import type { ContainerSpec, NetworkAttachment, RuntimeMount } from '../../runtime/index.ts';
import { expand } from './expand.ts';
import { PodRefusedError } from './refusals.ts';
import { securityOf } from './security.ts';

/** The container of a Pod. @throws PodRefusedError where there are several, as the engine runs one container a Pod */
export function mainContainer(pod: Pod): Container {
  const [container, ...others] = pod.spec.containers;
  if (container === undefined) throw new PodRefusedError('spec.containers: at least one container is needed');
  if (others.length > 0) throw new PodRefusedError('spec.containers: this engine runs one container a Pod');
  if ((pod.spec.initContainers ?? []).length > 0)
    throw new PodRefusedError('spec.initContainers: this engine runs no init containers');
  return container;
}

/** What of a container's surroundings is made ready before it starts. */
export interface ContainerSurroundings {
  id: string;
  network: NetworkAttachment;
  logPath: string;
  /** Environment from the Pod, on top of the image's. */
  environment: Record<string, string>;
  /** Mounts from the Pod, on top of the image's. */
  mounts: RuntimeMount[];
}

/** What the runtime is asked to run for a Pod: image defaults overridden as Kubernetes does. @throws PodRefusedError */
export function containerSpecOf(pod: Pod, image: ImageRoot, surroundings: ContainerSurroundings): ContainerSpec {
  const { environment, mounts, ...rest } = surroundings;
  const container = mainContainer(pod);
  const command = container.command ?? image.entrypoint;
  const commandLine = container.args ?? (container.command === undefined ? image.command : []);
  if (command.length + commandLine.length === 0)
    throw new PodRefusedError('spec.containers[0].command: the image has no default command');
  const taken = new Set(mounts.map(({ destination }) => destination));
  return {
    ...rest,
    ...securityOf(pod, container, image.user),
    hostname: pod.spec.hostname ?? pod.metadata.name,
    root: {
      ...image.root,
      mounts: [...image.root.mounts.filter(({ destination }) => !taken.has(destination)), ...mounts],
    },
    command: [...command, ...commandLine].map((word) => expand(word, environment)),
    env: { ...image.env, ...environment },
    workingDirectory: container.workingDir ?? image.workingDirectory,
  };
}

/** Port whose accepting a connection means ready: named http, else the only one declared; undefined if none is declared. */
export function readinessPort(container: Container): number | undefined {
  const ports = container.ports ?? [];
  const named = ports.find(({ name }) => name === 'http');
  return (named ?? ports[0])?.containerPort;
}
