import { setTimeout as delay } from 'node:timers/promises';
import type { ObjectKey, ResourceClient, ResourceType } from './client.ts';
import { isApiError } from './errors.ts';
import type { KubernetesObject } from './types.ts';

/** A server that ends watches at once must not make this spin. */
const SHORTEST_WATCH_MS = 500;

/** An object as last seen, and why the wait for it ended. */
export interface ObjectSeen<T> {
  object: T;
  outcome: 'accepted' | 'deleted' | 'aborted';
}

/** What is waited for. */
export interface ObjectWait<T> {
  accepts(object: T): boolean;
  signal: AbortSignal;
  /** The object as known already; else it is read first. */
  known?: T;
}

/**
 * Waits until one object is as wanted. Servers end watches as a matter of course, and forget what came long ago: the object is then read anew. One of the same name and another UID is
 * another object. @throws ApiError NotFound where it is not there at all
 */
export async function objectWhen<T extends KubernetesObject>(
  client: Pick<ResourceClient, 'get' | 'watch'>,
  type: ResourceType,
  key: ObjectKey,
  { accepts, signal, known }: ObjectWait<T>,
): Promise<ObjectSeen<T>> {
  const read = () => client.get<T>(type, key);
  let object = known ?? (await read());
  const { uid } = object.metadata;
  const isOther = ({ metadata }: T) => metadata.uid !== uid;
  for (;;) {
    if (accepts(object)) return { object, outcome: 'accepted' };
    const startedMs = performance.now();
    try {
      for await (const event of client.watch<T>(type, {
        ...(key.namespace === undefined ? {} : { namespace: key.namespace }),
        fieldSelector: `metadata.name=${key.name}`,
        resourceVersion: object.metadata.resourceVersion ?? '',
        signal,
      })) {
        if (event.type === 'BOOKMARK') continue;
        if (event.type === 'DELETED' || isOther(event.object)) return { object, outcome: 'deleted' };
        object = event.object;
        if (accepts(object)) return { object, outcome: 'accepted' };
      }
    } catch (error) {
      if (!isApiError(error, 'Expired') && !isApiError(error, 'Gone')) throw error;
    }
    const restMs = SHORTEST_WATCH_MS - (performance.now() - startedMs);
    if (restMs > 0) await delay(restMs, undefined, { signal }).catch(() => {});
    if (signal.aborted) return { object, outcome: 'aborted' };
    const latest = await read().catch(unlessGone);
    if (latest === undefined || isOther(latest)) return { object, outcome: 'deleted' };
    object = latest;
  }
}

function unlessGone(error: unknown): undefined {
  if (!isApiError(error, 'NotFound')) throw error;
}
