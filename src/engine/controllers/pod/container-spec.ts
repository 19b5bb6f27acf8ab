import type { Container, EnvVar, Pod } from '../../../kubernetes/index.ts';
import type { ImageRoot } from '../../images/index.ts';
import type { ContainerSpec, NetworkAttachment } from '../../runtime/index.ts';

/** A Pod that asks for what the engine does not do. The message names the field. */
export class PodRefusedError extends Error {
  readonly code = 'pod_refused';
}

/** The container of a Pod. @throws PodRefusedError where there are several, as the engine runs one container a Pod */
export function mainContainer(pod: Pod): Container {
  const [container, ...others] = pod.spec.containers;
  if (container === undefined) throw new PodRefusedError('spec.containers: at least one container is needed');
  if (others.length > 0) throw new PodRefusedError('spec.containers: this engine runs one container a Pod');
  if ((pod.spec.initContainers ?? []).length > 0)
    throw new PodRefusedError('spec.initContainers: this engine runs no init containers');
  return container;
}

/** What the runtime is asked to run for a Pod: image defaults overridden as Kubernetes does. @throws PodRefusedError */
export function containerSpecOf(
  pod: Pod,
  image: ImageRoot,
  id: string,
  network: NetworkAttachment,
  logPath: string,
): ContainerSpec {
  const container = mainContainer(pod);
  const command = container.command ?? image.entrypoint;
  const commandLine = container.args ?? (container.command === undefined ? image.command : []);
  if (command.length + commandLine.length === 0)
    throw new PodRefusedError('spec.containers[0].command: the image has no default command');
  const security = { ...pod.spec.securityContext, ...container.securityContext } as {
    runAsUser?: number;
    runAsGroup?: number;
  };
  return {
    id,
    hostname: pod.spec.hostname ?? pod.metadata.name,
    root: image.root,
    command: [...command, ...commandLine],
    env: { ...image.env, ...environmentOf(pod, container.env ?? [], network.address) },
    workingDirectory: container.workingDir ?? image.workingDirectory,
    user: { uid: security.runAsUser ?? image.user.uid, gid: security.runAsGroup ?? image.user.gid },
    network,
    logPath,
  };
}

/** Port whose accepting a connection means ready: named http, else the only one declared; undefined if none is declared. */
export function readinessPort(container: Container): number | undefined {
  const ports = container.ports ?? [];
  const named = ports.find(({ name }) => name === 'http');
  return (named ?? ports[0])?.containerPort;
}

function environmentOf(pod: Pod, variables: EnvVar[], address: string): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const { name, value, valueFrom } of variables) {
    environment[name] = valueFrom === undefined ? (value ?? '') : fieldOf(pod, name, valueFrom, address);
  }
  return environment;
}

function fieldOf(pod: Pod, name: string, source: NonNullable<EnvVar['valueFrom']>, address: string): string {
  const path = source.fieldRef?.fieldPath;
  const fields: Record<string, string | undefined> = {
    'metadata.name': pod.metadata.name,
    'metadata.namespace': pod.metadata.namespace,
    'metadata.uid': pod.metadata.uid,
    'spec.nodeName': pod.spec.nodeName ?? '',
    'status.podIP': address,
    'status.hostIP': '127.0.0.1',
  };
  const value = path === undefined ? undefined : fields[path];
  if (value === undefined)
    throw new PodRefusedError(`env ${name}: valueFrom ${JSON.stringify(source)} is not supported by this engine`);
  return value;
}
