import type { Container, Pod } from '../kubernetes/index.ts';

/** A Pod of several containers shares one sandbox between them; one with a single container is that container's sandbox. */
export function sharesSandbox({ spec }: Pick<Pod, 'spec'>): boolean {
  return spec.containers.length + (spec.initContainers ?? []).length > 1;
}

/** Where the log of a container is kept: under the Pod's UID, and its own name where there are several. */
export function logKey(pod: Pod, container: string): string {
  const uid = pod.metadata.uid ?? '';
  return sharesSandbox(pod) ? `${uid}.${container}` : uid;
}

/** A container's place in its Pod, for messages: `spec.initContainers[0]`. */
export function containerPath({ spec }: Pod, { name }: Container): string {
  for (const list of ['containers', 'initContainers'] as const) {
    const index = (spec[list] ?? []).findIndex((container) => container.name === name);
    if (index !== -1) return `spec.${list}[${index}]`;
  }
  return 'spec';
}
