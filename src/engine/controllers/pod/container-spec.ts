import type { Container, Pod } from '../../../kubernetes/index.ts';
import { type ImageRoot, TOOLBOX } from '../../images/index.ts';
import { containerPath, sharesSandbox } from '../../pod-containers.ts';
import type { ContainerSpec, NetworkAttachment, RuntimeMount } from '../../runtime/index.ts';
import { expand } from './expand.ts';
import { PodRefusedError } from './refusals.ts';
import { securityOf } from './security.ts';

/** Holds the sandbox that several containers share: it does nothing, with no rights. */
const HOLDER: Container = {
  name: 'sandbox',
  image: TOOLBOX,
  command: ['sleep', 'infinity'],
  securityContext: {
    runAsUser: 65_534,
    runAsGroup: 65_534,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  },
};

/** The container that has a Pod's sandbox: its only one, or one that holds the sandbox for several. @throws PodRefusedError */
export function mainContainer(pod: Pod): Container {
  const [container] = pod.spec.containers;
  if (container === undefined) throw new PodRefusedError('spec.containers: at least one container is needed');
  return sharesSandbox(pod) ? HOLDER : container;
}

/** What of a container's surroundings is made ready before it starts. */
export interface ContainerSurroundings {
  id: string;
  limits?: ContainerSpec['limits'];
  group?: ContainerSpec['group'];
  network: NetworkAttachment;
  logPath: string;
  /** Environment from the Pod, on top of the image's. */
  environment: Record<string, string>;
  /** Mounts from the Pod, on top of the image's. */
  mounts: RuntimeMount[];
}

/** What the runtime is asked to run for a Pod: image defaults overridden as Kubernetes does. @throws PodRefusedError */
export function containerSpecOf(
  pod: Pod,
  container: Container,
  image: ImageRoot,
  surroundings: ContainerSurroundings,
): ContainerSpec {
  const { environment, mounts, ...rest } = surroundings;
  const command = container.command ?? image.entrypoint;
  const commandLine = container.args ?? (container.command === undefined ? image.command : []);
  if (command.length + commandLine.length === 0)
    throw new PodRefusedError(`${containerPath(pod, container)}.command: the image has no default command`);
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
