import type {
  DeleteOptions,
  KubernetesObject,
  ListOptions,
  ObjectKey,
  PatchOptions,
  ResourceClient,
  ResourceType,
  WatchEvent,
  WatchOptions,
} from '../../kubernetes/index.ts';
import type { Caller } from './kinds/index.ts';
import type { Operations, RequestContext } from './operations/index.ts';
import { writeScale } from './operations/scale.ts';
import { applyJsonPatch } from './patch/json-patch.ts';
import { applyMergePatch } from './patch/merge-patch.ts';
import type { ReviewHandler } from './reviews.ts';

const BOOKMARK_INTERVAL_MS = 60_000;

/**
 * A {@link ResourceClient} on the operations themselves: what controllers in this process use. What it gives for one object is a copy, free to change;
 * lists and watches give the stored objects themselves, frozen, which all caches of the process share.
 * Writes resolve once durable, pipelined ones once they have their place in the order. Fields that a schema doesn't know are dropped, as a server does for clients that ask for no validation.
 */
export function createInProcessClient(operations: Operations, review: ReviewHandler, caller: Caller): ResourceClient {
  const contextFor = (fieldManager?: string): RequestContext => ({
    caller,
    ...(fieldManager === undefined ? {} : { fieldManager }),
    dryRun: false,
    fieldValidation: 'Ignore',
    warn: () => {},
  });
  const endpointOf = (type: ResourceType) => operations.endpoint(type.group, type.version, type.plural);

  return {
    async get<T extends KubernetesObject>(type: ResourceType, key: ObjectKey) {
      return copy<T>(operations.get(endpointOf(type), key));
    },
    async list<T extends KubernetesObject>(type: ResourceType, options: ListOptions = {}) {
      const page = operations.list(endpointOf(type), options);
      return {
        items: page.items as T[],
        resourceVersion: page.resourceVersion,
        ...(page.continue === undefined ? {} : { continue: page.continue }),
      };
    },
    async *watch<T extends KubernetesObject>(type: ResourceType, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
      const request = { ...options, bookmarks: true, bookmarkIntervalMs: BOOKMARK_INTERVAL_MS };
      for await (const event of operations.watch(endpointOf(type), request))
        yield { type: event.type, object: event.object as T };
    },
    async create<T extends KubernetesObject>(type: ResourceType, object: T) {
      const answer = review(type.group, type.version, type.plural);
      if (answer !== undefined) return copy<T>(answer(object, caller));
      const { namespace } = object.metadata;
      const target = namespace === undefined ? {} : { namespace };
      return copy<T>(await operations.create(endpointOf(type), target, object, contextFor()));
    },
    async update<T extends KubernetesObject>(type: ResourceType, object: T, subresource?: 'status') {
      return copy<T>(await operations.update(endpointOf(type), object.metadata, subresource, object, contextFor()));
    },
    async patch<T extends KubernetesObject>(type: ResourceType, key: ObjectKey, body: unknown, options: PatchOptions) {
      const endpoint = endpointOf(type);
      const context = { ...contextFor(options.fieldManager), pipelined: options.pipelined === true };
      if (options.subresource === 'scale') {
        const change = (scale: unknown) =>
          options.type === 'json' ? applyJsonPatch(scale, body) : applyMergePatch(scale, body);
        return copy<T>(await writeScale(operations, endpoint, key, change, context));
      }
      const request = {
        type: options.type,
        body,
        force: options.force === true,
        ...(options.subresource === undefined ? {} : { subresource: options.subresource }),
      };
      return copy<T>((await operations.patch(endpoint, key, request, context)).object);
    },
    async delete(type: ResourceType, key: ObjectKey, options: DeleteOptions = {}) {
      await operations.delete(endpointOf(type), key, options, { dryRun: false });
    },
  };
}

/** Stored objects are frozen and shared; callers get their own. */
function copy<T extends KubernetesObject>(object: KubernetesObject): T {
  return copyOf(object) as T;
}

/** Objects of the API are JSON, for which this takes a third of the time of a structured clone. */
function copyOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copyOf);
  const copied: Record<string, unknown> = {};
  for (const key in value) {
    const part = (value as Record<string, unknown>)[key];
    // A key of that name is data here, and must not become a prototype.
    if (key === '__proto__')
      Object.defineProperty(copied, key, { value: copyOf(part), enumerable: true, writable: true, configurable: true });
    else copied[key] = copyOf(part);
  }
  return copied;
}
