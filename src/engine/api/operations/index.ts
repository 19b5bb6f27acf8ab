/**
 * What can be done with objects, the same for every kind and for every way in: checks, conversions, concurrency, the store. Writes are
 * computed from the latest object and handed to the store in one tick, so no two of them can cross.
 */
import { noSuchResource } from '../errors.ts';
import { collectionOf } from '../kinds/kind.ts';
import { compileSchema } from '../schema/validate.ts';
import {
  createEndpoint,
  type Endpoint,
  type OperationDependencies,
  type RequestContext,
  type Target,
} from './context.ts';
import { createObject } from './create.ts';
import { type DeleteRequest, deleteObject } from './delete.ts';
import { type PatchRequest, patchObject } from './patch.ts';
import { getObject, type ListRequest, listObjects } from './read.ts';
import { updateObject } from './update.ts';
import { type WatchRequest, watchObjects } from './watch.ts';

export { reportFields } from './admission.ts';
export type { Endpoint, OperationDependencies, RequestContext, Target } from './context.ts';
export { type DeleteRequest, PERMANENT_NAMESPACES, parseDeleteOptions } from './delete.ts';
export { PATCH_TYPES, type PatchRequest, patchedValue, patchTypesOf } from './patch.ts';
export type { ListRequest, ObjectPage } from './read.ts';
export type { ObjectEvent, WatchRequest } from './watch.ts';

/** Every operation, over every served version of every kind. */
export type Operations = ReturnType<typeof createOperations>;

/** Compiles the kinds' schemas and binds the operations to the store. */
export function createOperations(dependencies: OperationDependencies) {
  const endpoints = new Map<string, Endpoint>();
  const stored = new Map<string, Endpoint>();
  for (const kind of dependencies.kinds)
    for (const version of kind.versions) {
      const endpoint = createEndpoint(kind, version, compileSchema(version.schema));
      endpoints.set(`${kind.group}/${version.version}/${kind.plural}`, endpoint);
      if (version === kind.versions[0] && kind.storedAs === undefined) stored.set(collectionOf(kind), endpoint);
    }

  return {
    endpoints: [...endpoints.values()],
    /** @throws ApiError NotFound */
    endpoint(group: string, version: string, plural: string): Endpoint {
      const found = endpoints.get(`${group}/${version}/${plural}`);
      if (found === undefined) throw noSuchResource();
      return found;
    },
    /** The stored version's endpoint of a collection of the store. */
    storedEndpoint: (collection: string): Endpoint | undefined => stored.get(collection),
    get: (endpoint: Endpoint, target: Target) => getObject(dependencies, endpoint, target),
    list: (endpoint: Endpoint, request: ListRequest) => listObjects(dependencies, endpoint, request),
    watch: (endpoint: Endpoint, request: WatchRequest) => watchObjects(dependencies, endpoint, request),
    create: (
      endpoint: Endpoint,
      target: { namespace?: string; name?: string },
      body: unknown,
      context: RequestContext,
    ) => createObject(dependencies, endpoint, target, body, context),
    update: (
      endpoint: Endpoint,
      target: Target,
      subresource: 'status' | undefined,
      body: unknown,
      context: RequestContext,
    ) => updateObject(dependencies, endpoint, target, subresource, body, context),
    patch: (endpoint: Endpoint, target: Target, patch: PatchRequest, context: RequestContext) =>
      patchObject(dependencies, endpoint, target, patch, context),
    delete: (endpoint: Endpoint, target: Target, request: DeleteRequest, context: Pick<RequestContext, 'dryRun'>) =>
      deleteObject(dependencies, endpoint, target, request, context),
  };
}
