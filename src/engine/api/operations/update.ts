import { isDeepStrictEqual } from 'node:util';
import { entriesAfterUpdate, managedEntries } from '../apply/managed-fields.ts';
import { conflict, invalid, notFound } from '../errors.ts';
import { keyOf } from '../kinds/kind.ts';
import { type ApiObject, at } from '../object.ts';
import { check, checkName, decode } from './admission.ts';
import {
  type Endpoint,
  latest,
  type OperationDependencies,
  present,
  type RequestContext,
  type Subresource,
  schemaOf,
  type Target,
  timestamp,
  toStored,
} from './context.ts';

/** Replaces an object (or its status). @throws ApiError NotFound, Conflict, Invalid, BadRequest */
export async function updateObject(
  dependencies: OperationDependencies,
  endpoint: Endpoint,
  target: Target,
  subresource: 'status' | undefined,
  body: unknown,
  context: RequestContext,
): Promise<ApiObject> {
  const next = decode(endpoint, target, body, context);
  checkName(next, target);
  const current = latest(dependencies.store, endpoint, target);
  if (current === undefined) throw notFound(endpoint.kind, target.name);
  if (!endpoint.kind.builtIn && (next.metadata.resourceVersion ?? '') === '')
    throw invalid({ ...endpoint.kind, kind: endpoint.kind.plural }, target.name, [
      {
        field: 'metadata.resourceVersion',
        reason: 'FieldValueInvalid',
        message: 'Invalid value: 0: must be specified for an update',
      },
    ]);
  return replace(dependencies, endpoint, current, next, subresource, context);
}

/**
 * Stores a decoded object in place of the current one, keeping what the server owns. A write that changes nothing is none. An object that
 * is being deleted disappears once its last finalizer is gone. `applied`: managedFields are complete already (server-side apply).
 */
export async function replace(
  dependencies: OperationDependencies,
  endpoint: Endpoint,
  current: ApiObject,
  next: ApiObject,
  subresource: Subresource,
  context: RequestContext,
  applied = false,
): Promise<ApiObject> {
  const { store, clock } = dependencies;
  const before = present(endpoint, current);
  checkVersions(endpoint, current, next);
  const candidate =
    subresource === 'status' ? withStatus(endpoint, before, next) : withoutStatus(endpoint, before, next);
  candidate.metadata = keepServerMetadata(endpoint, before, candidate.metadata);
  check(endpoint, candidate, before);
  if (at(before, 'metadata', 'generation') !== undefined && !isDeepStrictEqual(desired(before), desired(candidate)))
    candidate.metadata.generation = (before.metadata.generation ?? 0) + 1;
  if (!applied) trackUpdate(endpoint, before, candidate, subresource, context, timestamp(clock()));

  const stored = toStored(endpoint, candidate, current);
  if (isDeepStrictEqual(stored, current)) return present(endpoint, current);
  if (context.dryRun) return present(endpoint, stored);
  const { object, committed } = store.enqueue(
    endpoint.collection,
    keyOf(endpoint.kind, current),
    isGone(endpoint, stored) ? undefined : stored,
    current,
  );
  if (context.pipelined !== true) return present(endpoint, await committed);
  // Whoever pipelines writes hears of a failing disk by the last of them.
  committed.catch(() => {});
  return present(endpoint, object);
}

function checkVersions(endpoint: Endpoint, current: ApiObject, next: ApiObject): void {
  const { name, uid, resourceVersion } = current.metadata;
  const asked = next.metadata;
  if (asked.uid !== undefined && asked.uid !== '' && asked.uid !== uid)
    throw conflict(
      endpoint.kind,
      name,
      `Precondition failed: UID in precondition: ${asked.uid}, UID in object meta: ${uid}`,
    );
  if (asked.resourceVersion === undefined || asked.resourceVersion === '' || asked.resourceVersion === resourceVersion)
    return;
  if (/^\d+$/.test(asked.resourceVersion)) throw conflict(endpoint.kind, name);
  const message = `Invalid value: ${JSON.stringify(asked.resourceVersion)}: must be the version that a read gave`;
  throw invalid(endpoint.kind, name, [{ field: 'metadata.resourceVersion', reason: 'FieldValueInvalid', message }]);
}

function withoutStatus(endpoint: Endpoint, before: ApiObject, next: ApiObject): ApiObject {
  if (!endpoint.kind.status) return { ...next };
  const { status: _, ...rest } = next;
  return { ...rest, ...('status' in before ? { status: before.status } : {}) } as ApiObject;
}

/** Only `status` moves; built-in kinds also let labels and annotations through, as Kubernetes' own do. */
function withStatus(endpoint: Endpoint, before: ApiObject, next: ApiObject): ApiObject {
  const { labels, annotations, managedFields } = next.metadata;
  const { labels: _, annotations: __, managedFields: ___, ...kept } = before.metadata;
  const source = endpoint.kind.builtIn ? { labels, annotations } : before.metadata;
  const { status: ____, ...rest } = before;
  return {
    ...rest,
    metadata: {
      ...kept,
      ...(source.labels === undefined ? {} : { labels: source.labels }),
      ...(source.annotations === undefined ? {} : { annotations: source.annotations }),
      ...(managedFields === undefined ? {} : { managedFields }),
    },
    ...(next.status === undefined ? {} : { status: next.status }),
  } as ApiObject;
}

const SERVER_FIELDS = [
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'generateName',
  'namespace',
] as const;

function keepServerMetadata(
  endpoint: Endpoint,
  before: ApiObject,
  metadata: ApiObject['metadata'],
): ApiObject['metadata'] {
  const result: ApiObject['metadata'] = { ...metadata };
  delete (result as { selfLink?: string }).selfLink;
  for (const name of SERVER_FIELDS) {
    if (before.metadata[name] === undefined) delete result[name];
    else Object.assign(result, { [name]: before.metadata[name] });
  }
  for (const name of ['labels', 'annotations', 'finalizers', 'ownerReferences'] as const)
    if (result[name] !== undefined && Object.keys(result[name]).length === 0) delete result[name];
  if (before.metadata.deletionTimestamp !== undefined) {
    const added = (result.finalizers ?? []).filter((finalizer) => !before.metadata.finalizers?.includes(finalizer));
    if (added.length > 0)
      throw invalid(endpoint.kind, before.metadata.name, [
        {
          field: 'metadata.finalizers',
          reason: 'FieldValueForbidden',
          message: `Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{${added.map((finalizer) => JSON.stringify(finalizer)).join(', ')}}`,
        },
      ]);
  }
  return result;
}

/** Everything but metadata and status: what the generation counts. */
function desired({ metadata: _, status: __, apiVersion: ___, ...rest }: ApiObject): unknown {
  return rest;
}

function trackUpdate(
  endpoint: Endpoint,
  before: ApiObject,
  candidate: ApiObject,
  subresource: Subresource,
  context: RequestContext,
  time: string,
): void {
  const { metadata } = candidate;
  const sent = managedEntries(candidate);
  const cleared = Array.isArray(metadata.managedFields) && metadata.managedFields.length > 0 && sent.length === 0;
  const known = sent.length > 0 ? sent : cleared ? [] : managedEntries(before);
  delete metadata.managedFields;
  if (cleared || (known.length === 0 && context.fieldManager === undefined)) return;
  const writer = {
    manager: context.fieldManager ?? 'sandbox-router-engine',
    apiVersion: endpoint.apiVersion,
    time,
    ...(subresource === undefined ? {} : { subresource }),
  };
  const entries = entriesAfterUpdate(schemaOf(endpoint), known, before, candidate, writer);
  if (entries.length > 0) metadata.managedFields = entries;
}

/** True once nothing holds an object that is being deleted. A Pod in its grace period waits for the final delete. */
function isGone(endpoint: Endpoint, { metadata, spec }: ApiObject): boolean {
  if (metadata.deletionTimestamp === undefined || (metadata.finalizers ?? []).length > 0) return false;
  if (endpoint.kind.kind === 'Namespace') return ((at(spec, 'finalizers') as unknown[] | undefined) ?? []).length === 0;
  return (metadata.deletionGracePeriodSeconds ?? 0) === 0;
}
