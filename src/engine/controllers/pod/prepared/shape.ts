import { createHash } from 'node:crypto';
import type { ContainerSpec } from '../../../runtime/index.ts';

/**
 * Hash of all that is fixed when a container is created: two specs of one shape can be restored into the same container. Network and log are given to it only
 * when it is restored.
 */
export function shapeOf({ id: _id, network: _network, logPath: _logPath, ...fixed }: ContainerSpec): string {
  return createHash('sha256').update(JSON.stringify(fixed)).digest('hex').slice(0, 16);
}
