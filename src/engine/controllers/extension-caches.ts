import {
  type KubernetesObject,
  type ResourceClient,
  type ResourceType,
  SANDBOX_CLAIMS,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
  type SandboxTemplate,
  type SandboxWarmPool,
} from '../../kubernetes/index.ts';
import { type CacheListener, createObjectCache, type ObjectCache } from './object-cache.ts';

/** A cache that several controllers listen to. */
export interface SharedCache<T extends KubernetesObject> extends Pick<ObjectCache<T>, 'get' | 'values'> {
  listen(listener: CacheListener<T>): void;
}

/** What the controllers of claims, pools and templates look at; one watch of each type for all of them. */
export interface ExtensionCaches {
  claims: SharedCache<SandboxClaim>;
  pools: SharedCache<SandboxWarmPool>;
  templates: SharedCache<SandboxTemplate>;
  sandboxes: SharedCache<Sandbox>;
  synced: Promise<void>;
  close(): void;
}

/** Starts the watches. Who listens before the next turn of the event loop hears of every object. */
export function createExtensionCaches(
  client: ResourceClient,
  failed: (what: string, error: unknown) => void,
): ExtensionCaches {
  const caches: ObjectCache<KubernetesObject>[] = [];

  function shared<T extends KubernetesObject>(type: ResourceType): SharedCache<T> {
    const listeners: CacheListener<T>[] = [];
    const cache = createObjectCache<T>(
      client,
      type,
      (after, before) => {
        for (const listener of listeners) listener(after, before);
      },
      (error) => failed(`watching ${type.plural}`, error),
    );
    caches.push(cache as unknown as ObjectCache<KubernetesObject>);
    return { get: cache.get, values: cache.values, listen: (listener) => listeners.push(listener) };
  }

  const types = {
    claims: shared<SandboxClaim>(SANDBOX_CLAIMS),
    pools: shared<SandboxWarmPool>(SANDBOX_WARM_POOLS),
    templates: shared<SandboxTemplate>(SANDBOX_TEMPLATES),
    sandboxes: shared<Sandbox>(SANDBOXES),
  };
  const synced = Promise.all(caches.map((cache) => cache.synced)).then(() => {});
  // Closed before: who waits hears of it, and nobody need wait.
  synced.catch(() => {});
  return {
    ...types,
    synced,
    close: () => {
      for (const cache of caches) cache.close();
    },
  };
}
