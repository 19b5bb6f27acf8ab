import type { KubernetesObject } from '../../../kubernetes/index.ts';
import type { ApiObject } from '../object.ts';
import type { Schema } from '../schema/schema.ts';
import type { FieldError } from '../schema/validate.ts';

/** One column of `kubectl get`. `priority` above 0: only with `-o wide`. */
export interface Column {
  name: string;
  type?: 'string' | 'integer' | 'date';
  format?: 'name';
  description: string;
  priority?: number;
  /** `nowMs` is there for ages. */
  value: (object: ApiObject, nowMs: number) => string | number;
}

/** One version in which a kind is served. Without conversions its form is the stored one. */
export interface KindVersion {
  version: string;
  schema: Schema;
  columns: Column[];
  /** Sent as a Warning with every answer. */
  deprecationWarning?: string;
  fromStored?: (object: ApiObject) => ApiObject;
  /** `previous`: the stored object that is replaced, for what this version has no words for. */
  toStored?: (object: ApiObject, previous: ApiObject | undefined) => ApiObject;
  /** Where a scale subresource finds its numbers, in this version only. */
  scale?: ScalePaths;
  /** In place of the kind's own rules. */
  validate?: Kind['validate'];
}

/** Where the scale subresource finds its numbers: names below `spec` and `status`. */
export interface ScalePaths {
  specReplicas: string;
  statusReplicas: string;
  statusSelector: string;
}

/**
 * All that the API knows of one kind of object; adding a kind is writing one of these. `versions[0]` is the stored version. Built-in
 * kinds take strategic merge patches and updates without a resourceVersion, as Kubernetes' own do; others behave like custom resources.
 */
export interface Kind {
  group: string;
  plural: string;
  singular: string;
  kind: string;
  namespaced: boolean;
  builtIn: boolean;
  shortNames?: string[];
  categories?: string[];
  versions: [KindVersion, ...KindVersion[]];
  /** Whether `status` is written through its subresource only. */
  status: boolean;
  scale?: ScalePaths;
  /** Whether `metadata.generation` counts changes of the desired state; custom resources always do. */
  generation?: boolean;
  /** False where a whole collection can't be deleted at once. */
  deleteCollection?: false;
  /** The kind of another group whose objects these are: a second name for them, with conversions of its own. */
  storedAs?: Kind;
  /** Rule for names; DNS subdomain by default. */
  names?: 'subdomain' | 'label';
  /** Fields beyond metadata.name and metadata.namespace that field selectors may name. */
  selectableFields?: Record<string, (object: ApiObject) => string>;
  /** Brings a created or updated object into its one form. Changes the draft. */
  prepare?: (draft: ApiObject) => void;
  /** Fills in what a new object starts with (its status, say). Changes the draft. */
  prepareCreate?: (draft: ApiObject) => void;
  /** Rules beyond the schema. `previous` on updates; immutability is judged here. */
  validate?: (object: ApiObject, previous: ApiObject | undefined) => FieldError[];
  /** Seconds that a deletion without a wish of its own gives the object; no grace without this. */
  gracePeriodSeconds?: (object: ApiObject) => number;
  /** Milliseconds after which objects vanish by themselves, from their last write. */
  timeToLiveMs?: number;
}

/** A kind that is only posted and answered, never stored: reviews. */
export interface ReviewKind {
  group: string;
  version: string;
  plural: string;
  kind: string;
  schema: Schema;
  /** Fills in the status. */
  answer: (review: ApiObject, caller: Caller) => ApiObject;
}

/** Who is calling, as the credential says. */
export interface Caller {
  name: string;
  groups: string[];
}

/** Name of the kind's collection in the store. */
export function collectionOf(kind: Kind): string {
  if (kind.storedAs !== undefined) return collectionOf(kind.storedAs);
  return kind.group === '' ? kind.plural : `${kind.plural}.${kind.group}`;
}

/** Key of an object in its collection. */
export function keyOf(kind: Kind, object: KubernetesObject): string {
  return keyFor(kind, object.metadata.namespace, object.metadata.name);
}

/** Key of a name in a collection. */
export function keyFor(kind: Kind, namespace: string | undefined, name: string): string {
  return kind.namespaced ? `${namespace ?? ''}/${name}` : name;
}

/** `v1`, `agents.x-k8s.io/v1beta1`. */
export function apiVersion(group: string, version: string): string {
  return group === '' ? version : `${group}/${version}`;
}

/** As error messages name a resource: `pods`, `sandboxes.agents.x-k8s.io`. */
export function qualifiedResource(kind: { group: string; plural: string }): string {
  return kind.group === '' ? kind.plural : `${kind.plural}.${kind.group}`;
}

/** As error messages name a kind: `Pod`, `Sandbox.agents.x-k8s.io`. */
export function qualifiedKind(kind: { group: string; kind: string }): string {
  return kind.group === '' ? kind.kind : `${kind.kind}.${kind.group}`;
}
