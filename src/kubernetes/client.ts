import type { KubernetesObject } from './types.ts';

/** Names one resource type of the API: enough to build its URLs and its objects. `group` is `''` for the core group. */
export interface ResourceType {
  group: string;
  version: string;
  plural: string;
  kind: string;
  namespaced: boolean;
}

/** Names one object. `namespace` is absent for cluster-scoped types. */
export interface ObjectKey {
  namespace?: string;
  name: string;
}

/** Narrows a list or a watch. Without `namespace`: all namespaces. */
export interface ListOptions {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  limit?: number;
  continue?: string;
}

/** One page of a list. `continue` is the token of the next page, absent on the last. */
export interface ResourceList<T extends KubernetesObject> {
  items: T[];
  resourceVersion: string;
  continue?: string;
}

/** One watch event; a BOOKMARK's object carries only `metadata.resourceVersion`. */
export interface WatchEvent<T extends KubernetesObject> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  object: T;
}

/** Narrows a watch and says where it starts; the iteration ends when `signal` aborts. */
export interface WatchOptions extends Omit<ListOptions, 'limit' | 'continue'> {
  resourceVersion?: string;
  /** After which the server ends it in good order; some minutes without it. */
  timeoutSeconds?: number;
  signal: AbortSignal;
}

/** `merge` is RFC 7386, `json` RFC 6902, `apply` server-side apply (needs `fieldManager`). */
export interface PatchOptions {
  type: 'merge' | 'json' | 'apply';
  subresource?: 'status' | 'scale';
  fieldManager?: string;
  force?: boolean;
  /**
   * More writes follow that make no sense without this one, and the last of them is waited for: a server in this process may answer before this one is
   * durable, as it keeps the order. Others take no notice.
   */
  pipelined?: boolean;
}

/** What a delete asks for. Preconditions that don't hold throw Conflict. */
export interface DeleteOptions {
  uid?: string;
  resourceVersion?: string;
  gracePeriodSeconds?: number;
  propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
}

/**
 * The one way in which controllers, the router's wake and the CLI talk to a Kubernetes API; the HTTP client and the engine's
 * in-process API both implement it. Every method throws {@link ApiError} with the server's `Status`; a watch whose
 * resourceVersion is too old throws ApiError `Expired` (410).
 */
export interface ResourceClient {
  get<T extends KubernetesObject>(type: ResourceType, key: ObjectKey): Promise<T>;
  list<T extends KubernetesObject>(type: ResourceType, options?: ListOptions): Promise<ResourceList<T>>;
  watch<T extends KubernetesObject>(type: ResourceType, options: WatchOptions): AsyncIterable<WatchEvent<T>>;
  create<T extends KubernetesObject>(type: ResourceType, object: T): Promise<T>;
  update<T extends KubernetesObject>(type: ResourceType, object: T, subresource?: 'status'): Promise<T>;
  patch<T extends KubernetesObject>(
    type: ResourceType,
    key: ObjectKey,
    patch: unknown,
    options: PatchOptions,
  ): Promise<T>;
  delete(type: ResourceType, key: ObjectKey, options?: DeleteOptions): Promise<void>;
}
