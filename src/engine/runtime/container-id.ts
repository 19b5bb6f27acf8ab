import { createHash } from 'node:crypto';

/** Length of every container id. runsc resolves unique prefixes, so all must be equally long; short enough to be part of a link's name. */
export const CONTAINER_ID_LENGTH = 10;

/** Container id of a pod: hex digits, the same at every start of the engine. */
export function containerId(podUid: string): string {
  return createHash('sha256').update(podUid).digest('hex').slice(0, CONTAINER_ID_LENGTH);
}
