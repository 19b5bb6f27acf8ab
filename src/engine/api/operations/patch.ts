import { applyConfiguration } from '../apply/apply.ts';
import { badRequest, conflict, invalidOptions, notFound, unsupportedMediaType } from '../errors.ts';
import type { ApiObject } from '../object.ts';
import { applyJsonPatch } from '../patch/json-patch.ts';
import { applyMergePatch, isPlainObject } from '../patch/merge-patch.ts';
import { applyStrategicMergePatch } from '../patch/strategic-merge-patch.ts';
import { checkName, decode } from './admission.ts';
import {
  type Endpoint,
  latest,
  type OperationDependencies,
  present,
  type RequestContext,
  schemaOf,
  type Target,
  timestamp,
} from './context.ts';
import { insert } from './create.ts';
import { replace } from './update.ts';

/** Kinds of patch by what they are called in a Content-Type. */
export const PATCH_TYPES = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

/** A patch as it was sent. */
export interface PatchRequest {
  type: keyof typeof PATCH_TYPES;
  body: unknown;
  subresource?: 'status';
  force: boolean;
}

/** Media types of the patches that a kind takes. */
export function patchTypesOf(endpoint: Endpoint): string[] {
  const { json, merge, strategic, apply } = PATCH_TYPES;
  return endpoint.kind.builtIn ? [json, merge, strategic, apply] : [json, merge, apply];
}

/** Patches an object; server-side apply also makes it. `created` tells. @throws ApiError NotFound, Conflict, Invalid, BadRequest, UnsupportedMediaType */
export async function patchObject(
  dependencies: OperationDependencies,
  endpoint: Endpoint,
  target: Target,
  patch: PatchRequest,
  context: RequestContext,
): Promise<{ object: ApiObject; created: boolean }> {
  if (!patchTypesOf(endpoint).includes(PATCH_TYPES[patch.type])) throw unsupportedMediaType(patchTypesOf(endpoint));
  const current = latest(dependencies.store, endpoint, target);
  if (patch.type === 'apply') return applyObject(dependencies, endpoint, target, current, patch, context);
  if (current === undefined) throw notFound(endpoint.kind, target.name);
  const before = present(endpoint, current);
  const patched = patchedValue(endpoint, before, patch);
  const next = decode(endpoint, target, patched, context);
  checkName(next, target);
  return { object: await replace(dependencies, endpoint, current, next, patch.subresource, context), created: false };
}

/** The value with a patch applied; the type and the fields are not looked at yet. */
export function patchedValue(endpoint: Endpoint, before: unknown, patch: PatchRequest): unknown {
  if (patch.type === 'json') return applyJsonPatch(before, patch.body);
  if (!isPlainObject(patch.body)) throw badRequest('the patch must be a JSON object');
  return patch.type === 'strategic'
    ? applyStrategicMergePatch(schemaOf(endpoint), before, patch.body)
    : applyMergePatch(before, patch.body);
}

async function applyObject(
  dependencies: OperationDependencies,
  endpoint: Endpoint,
  target: Target,
  current: ApiObject | undefined,
  patch: PatchRequest,
  context: RequestContext,
): Promise<{ object: ApiObject; created: boolean }> {
  const { fieldManager } = context;
  if (fieldManager === undefined || fieldManager === '')
    throw invalidOptions('PatchOptions', [
      {
        field: 'fieldManager',
        reason: 'FieldValueRequired',
        message: 'Required value: is required for apply patch',
      },
    ]);
  if (!isPlainObject(patch.body)) throw badRequest('error decoding YAML: an apply patch is one object');
  const { apiVersion, kind } = patch.body;
  if (apiVersion === undefined || kind === undefined)
    throw badRequest(`invalid object type: ${apiVersion ?? '/'}, Kind=${kind ?? ''}`);
  const metadata = isPlainObject(patch.body.metadata) ? patch.body.metadata : {};
  if (Array.isArray(metadata.managedFields) && metadata.managedFields.length > 0)
    throw badRequest('metadata.managedFields must be nil');
  const configuration = decodeConfiguration(endpoint, target, patch, context);
  if (current === undefined && patch.subresource !== undefined) throw notFound(endpoint.kind, target.name);
  if (
    current !== undefined &&
    configuration.metadata.uid !== undefined &&
    configuration.metadata.uid !== current.metadata.uid
  )
    throw conflict(
      endpoint.kind,
      target.name,
      `Precondition failed: UID in precondition: ${configuration.metadata.uid}, UID in object meta: ${current.metadata.uid}`,
    );

  const writer = {
    manager: fieldManager,
    apiVersion: endpoint.apiVersion,
    time: timestamp(dependencies.clock()),
    ...(patch.subresource === undefined ? {} : { subresource: patch.subresource }),
  };
  const live = current === undefined ? undefined : present(endpoint, current);
  const schema = schemaOf(endpoint);
  const result = applyConfiguration(schema, live, configuration, writer, patch.force);
  const next = decode(endpoint, target, result, context);
  if (current !== undefined)
    return {
      object: await replace(dependencies, endpoint, current, next, patch.subresource, context, true),
      created: false,
    };
  delete next.metadata.resourceVersion;
  return { object: await insert(dependencies, endpoint, next, context), created: true };
}

/** What the applier says, without what this request cannot set (status, or all but status); unknown fields refused or pruned. */
function decodeConfiguration(
  endpoint: Endpoint,
  target: Target,
  patch: PatchRequest,
  context: RequestContext,
): ApiObject {
  const defaulted = decode(endpoint, target, patch.body, context);
  checkName(defaulted, target);
  const said = structuredClone(patch.body) as ApiObject;
  endpoint.kind.prepare?.(said);
  const known = keepSaid(said, defaulted) as ApiObject;
  const { status, ...rest } = known;
  const identity = { apiVersion: defaulted.apiVersion, kind: defaulted.kind };
  const metadata = {
    ...known.metadata,
    name: target.name,
    ...(defaulted.metadata.namespace === undefined ? {} : { namespace: defaulted.metadata.namespace }),
  };
  return (
    patch.subresource === 'status'
      ? { ...identity, metadata: { name: target.name }, ...(status === undefined ? {} : { status }) }
      : endpoint.kind.status
        ? { ...rest, ...identity, metadata }
        : { ...known, ...identity, metadata }
  ) as ApiObject;
}

/** The decoded value without defaults: only what was said. */
function keepSaid(said: unknown, decoded: unknown): unknown {
  if (Array.isArray(decoded) && Array.isArray(said)) return decoded.map((item, index) => keepSaid(said[index], item));
  if (!isPlainObject(decoded) || !isPlainObject(said)) return decoded;
  return Object.fromEntries(
    Object.entries(decoded)
      .filter(([name]) => Object.hasOwn(said, name))
      .map(([name, value]) => [name, keepSaid(said[name], value)]),
  );
}
