import { entriesAfterUpdate } from '../apply/managed-fields.ts';
import { alreadyExists, badRequest, forbidden, invalid, notFound } from '../errors.ts';
import { keyFor } from '../kinds/kind.ts';
import { namespace as namespaceKind } from '../kinds/namespace.ts';
import { type ApiObject, text } from '../object.ts';
import { check, decode } from './admission.ts';
import {
  type Endpoint,
  latest,
  type OperationDependencies,
  present,
  type RequestContext,
  schemaOf,
  timestamp,
  toStored,
} from './context.ts';

/** Makes an object. @throws ApiError AlreadyExists, Invalid, BadRequest, NotFound or Forbidden for its namespace */
export async function createObject(
  dependencies: OperationDependencies,
  endpoint: Endpoint,
  target: { namespace?: string; name?: string },
  body: unknown,
  context: RequestContext,
): Promise<ApiObject> {
  const draft = decode(endpoint, target, body, context);
  if (draft.metadata.resourceVersion !== undefined && draft.metadata.resourceVersion !== '')
    throw badRequest('resourceVersion should not be set on objects to be created');
  if (target.name !== undefined) draft.metadata.name ??= target.name;
  return insert(dependencies, endpoint, draft, context);
}

/** Completes, checks and stores a decoded draft as a new object. */
export async function insert(
  dependencies: OperationDependencies,
  endpoint: Endpoint,
  draft: ApiObject,
  context: RequestContext,
): Promise<ApiObject> {
  const { store, clock } = dependencies;
  const { kind } = endpoint;
  if (kind.namespaced) checkNamespace(dependencies, endpoint, draft);
  giveName(dependencies, endpoint, draft);
  complete(dependencies, endpoint, draft);
  check(endpoint, draft, undefined);
  if (latest(store, endpoint, draft.metadata) !== undefined) throw alreadyExists(kind, draft.metadata.name);
  track(endpoint, draft, context, timestamp(clock()));
  const stored = toStored(endpoint, draft);
  if (context.dryRun) return present(endpoint, stored);
  const key = keyFor(kind, draft.metadata.namespace, draft.metadata.name);
  return present(endpoint, await store.write(endpoint.collection, key, stored, undefined));
}

/** @throws ApiError NotFound or Forbidden unless the namespace is there and stays */
function checkNamespace({ store }: OperationDependencies, endpoint: Endpoint, draft: ApiObject): void {
  const name = draft.metadata.namespace ?? '';
  if (name === '') throw badRequest('an empty namespace may not be set during creation');
  const found = store.latest('namespaces', name) as ApiObject | undefined;
  if (found === undefined) throw notFound(namespaceKind, name);
  if (found.metadata.deletionTimestamp !== undefined || text(found, 'status', 'phase') === 'Terminating') {
    const why = `unable to create new content in namespace ${name} because it is being terminated`;
    throw forbidden(endpoint.kind, draft.metadata.name ?? '', why, [
      { reason: 'NamespaceTerminating', message: `namespace ${name} is being terminated`, field: 'metadata.namespace' },
    ]);
  }
}

/** Letters of generated names: no vowels, nothing that looks like another (k8s.io/apimachinery pkg/util/rand). */
const NAME_LETTERS = 'bcdfghjklmnpqrstvwxz2456789';
const SUFFIX_LENGTH = 5;
const GENERATED_PREFIX_LENGTH = 63 - SUFFIX_LENGTH;

function giveName({ store, random }: OperationDependencies, endpoint: Endpoint, draft: ApiObject): void {
  const { metadata } = draft;
  if (typeof metadata.name === 'string' && metadata.name !== '') return;
  if (typeof metadata.generateName !== 'string' || metadata.generateName === '')
    throw invalid(endpoint.kind, '', [
      {
        field: 'metadata.name',
        reason: 'FieldValueRequired',
        message: 'Required value: name or generateName is required',
      },
    ]);
  const prefix = metadata.generateName.slice(0, GENERATED_PREFIX_LENGTH);
  // A taken name is so unlikely that a few tries are plenty; the last one is refused as any taken name is.
  for (let attempt = 0; attempt < 8; attempt++) {
    metadata.name =
      prefix + Array.from(random(SUFFIX_LENGTH), (byte) => NAME_LETTERS[byte % NAME_LETTERS.length]).join('');
    if (latest(store, endpoint, metadata) === undefined) return;
  }
}

function complete({ clock, random }: OperationDependencies, endpoint: Endpoint, draft: ApiObject): void {
  const { metadata } = draft;
  delete metadata.deletionTimestamp;
  delete metadata.deletionGracePeriodSeconds;
  delete (metadata as { selfLink?: string }).selfLink;
  draft.metadata = { ...metadata, uid: uuid(random(16)), creationTimestamp: timestamp(clock()) };
  delete draft.metadata.generation;
  if (!endpoint.kind.builtIn || endpoint.kind.generation) draft.metadata.generation = 1;
  if (endpoint.kind.status) delete draft.status;
  endpoint.kind.prepareCreate?.(draft);
}

function track(endpoint: Endpoint, draft: ApiObject, context: RequestContext, time: string): void {
  // Entries that came with the object are kept for server-side apply, which sets them itself.
  if (context.fieldManager === undefined || draft.metadata.managedFields !== undefined) return;
  const writer = { manager: context.fieldManager, apiVersion: endpoint.apiVersion, time };
  draft.metadata.managedFields = entriesAfterUpdate(schemaOf(endpoint), [], undefined, draft, writer);
}

/** A version 4 UUID (RFC 9562) of 16 random bytes. */
function uuid(bytes: Uint8Array): string {
  const copy = Uint8Array.from(bytes);
  copy[6] = ((copy[6] ?? 0) & 0x0f) | 0x40;
  copy[8] = ((copy[8] ?? 0) & 0x3f) | 0x80;
  const hex = Buffer.from(copy).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
