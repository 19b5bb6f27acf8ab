import type { KubernetesObject } from '../../../kubernetes/index.ts';
import type { Store } from '../../store/index.ts';
import { apiVersion, type Caller, collectionOf, type Kind, type KindVersion, keyFor } from '../kinds/kind.ts';
import type { ApiObject } from '../object.ts';
import type { Schema } from '../schema/schema.ts';
import type { Validator } from '../schema/validate.ts';

/** What every operation works with. */
export interface OperationDependencies {
  store: Store;
  /** Milliseconds since the epoch. */
  clock: () => number;
  /** That many random bytes. */
  random: (size: number) => Uint8Array;
  kinds: readonly Kind[];
}

/** One version of one kind, ready to use: schema compiled, conversions filled in. */
export interface Endpoint {
  kind: Kind;
  version: KindVersion;
  /** `agents.x-k8s.io/v1beta1`. */
  apiVersion: string;
  collection: string;
  validate: Validator;
}

/** Who asks and how. */
export interface RequestContext {
  caller: Caller;
  /** Name under which changed fields are recorded; without it only objects that already have managedFields are tracked. */
  fieldManager?: string;
  dryRun: boolean;
  /** Answer once the write has its place in the order, before it is durable. */
  pipelined?: boolean;
  /** What happens to fields that the schema doesn't know. Pruned in any case that isn't refused. */
  fieldValidation: 'Strict' | 'Warn' | 'Ignore';
  /** Takes warnings for the caller. */
  warn: (message: string) => void;
}

/** Names one object of an endpoint. */
export interface Target {
  namespace?: string;
  name: string;
}

/** Which part of an object a write is for. */
export type Subresource = 'status' | 'scale' | undefined;

/** The latest stored object, committed or on its way. */
export function latest(store: Store, endpoint: Endpoint, target: Target): ApiObject | undefined {
  return store.latest(endpoint.collection, keyFor(endpoint.kind, target.namespace, target.name)) as
    | ApiObject
    | undefined;
}

/** A stored object in the endpoint's version. Not to be changed. */
export function present(endpoint: Endpoint, stored: KubernetesObject): ApiObject {
  const converted = endpoint.version.fromStored?.(stored as ApiObject) ?? (stored as ApiObject);
  return converted.apiVersion === endpoint.apiVersion ? converted : { ...converted, apiVersion: endpoint.apiVersion };
}

/** An object of the endpoint's version in the stored one; `previous` is the stored object that it replaces. */
export function toStored(endpoint: Endpoint, object: ApiObject, previous?: ApiObject): ApiObject {
  const kind = endpoint.kind.storedAs ?? endpoint.kind;
  const storedVersion = apiVersion(kind.group, kind.versions[0].version);
  const converted = endpoint.version.toStored?.(object, previous) ?? object;
  return converted.apiVersion === storedVersion ? converted : { ...converted, apiVersion: storedVersion };
}

/** Schema of the endpoint's version. */
export function schemaOf(endpoint: Endpoint): Schema {
  return endpoint.version.schema;
}

/** `2026-01-31T12:00:00Z`, as metadata has it. */
export function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** Makes an endpoint of a kind's version. */
export function createEndpoint(kind: Kind, version: KindVersion, validate: Validator): Endpoint {
  return {
    kind,
    version,
    apiVersion: apiVersion(kind.group, version.version),
    collection: collectionOf(kind),
    validate,
  };
}
