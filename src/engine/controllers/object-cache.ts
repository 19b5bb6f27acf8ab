import {
  createReflector,
  type KubernetesObject,
  type Reflector,
  type ResourceClient,
  type ResourceType,
} from '../../kubernetes/index.ts';

/** A local copy of all objects of a type, kept by a watch. */
export interface ObjectCache<T extends KubernetesObject> {
  get(key: string): T | undefined;
  values(): Iterable<T>;
  synced: Promise<void>;
  close(): void;
}

/** Told of each change; `before` is absent for a new object, `after` for one that is gone. */
export type CacheListener<T> = (after: T | undefined, before: T | undefined) => void;

/** `namespace/name` of an object, the key of caches and work queues. */
export function keyOf(object: KubernetesObject): string {
  return `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
}

/** Follows a type and keeps its objects whole: controllers need most of them, unlike the router. */
export function createObjectCache<T extends KubernetesObject>(
  client: ResourceClient,
  type: ResourceType,
  listener: CacheListener<T>,
  failed: (error: unknown) => void,
): ObjectCache<T> {
  const objects = new Map<string, T>();
  let unseen = new Set<string>();

  const reflector: Reflector = createReflector({
    client,
    type,
    failed,
    listing: () => {
      unseen = new Set(objects.keys());
    },
    listed: () => {
      for (const key of unseen) remove(key);
      unseen.clear();
    },
    upserted: (object) => {
      const key = keyOf(object);
      unseen.delete(key);
      const before = objects.get(key);
      if (
        before?.metadata.resourceVersion === object.metadata.resourceVersion &&
        before?.metadata.uid === object.metadata.uid
      )
        return;
      objects.set(key, object as T);
      listener(object as T, before);
    },
    deleted: (object) => remove(keyOf(object)),
  });

  function remove(key: string): void {
    const before = objects.get(key);
    objects.delete(key);
    if (before !== undefined) listener(undefined, before);
  }

  return {
    get: (key) => objects.get(key),
    values: () => objects.values(),
    synced: reflector.synced,
    close: reflector.close,
  };
}
