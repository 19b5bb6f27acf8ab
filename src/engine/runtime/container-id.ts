import { createHash } from 'node:crypto';

/** Length of every container id. runsc resolves unique prefixes, so all must be equally long; short enough to be part of a link's name. */
export const CONTAINER_ID_LENGTH = 10;

/** Container ids of pods. */
export interface ContainerIds {
  /** The container of a pod: the one that is its own now, else the one that it would get. */
  of(podUid: string): string;
  /** A pod's container is another one: it was made before the pod was there. */
  set(podUid: string, id: string): void;
  forget(podUid: string): void;
}

/** All pods have the container of their {@link containerId} until something else is said. */
export function createContainerIds(): ContainerIds {
  const others = new Map<string, string>();
  return {
    of: (podUid) => others.get(podUid) ?? containerId(podUid),
    set: (podUid, id) => {
      if (id === containerId(podUid)) others.delete(podUid);
      else others.set(podUid, id);
    },
    forget: (podUid) => {
      others.delete(podUid);
    },
  };
}

/** Id of one container of several in the sandbox of a pod. */
export function memberId(podUid: string, container: string): string {
  return containerId(`${podUid}/${container}`);
}

/** Container id of a pod for which none was made before: hex digits, the same at every start of the engine. */
export function containerId(podUid: string): string {
  return createHash('sha256').update(podUid).digest('hex').slice(0, CONTAINER_ID_LENGTH);
}
