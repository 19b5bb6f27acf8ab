import { StoreError, type StorePage } from '../../store/index.ts';
import { badRequest, expired, failure, futureVersion, invalidOptions, notFound } from '../errors.ts';
import { keyFor } from '../kinds/kind.ts';
import type { ApiObject } from '../object.ts';
import type { FieldError } from '../schema/validate.ts';
import { parseFieldSelector } from '../selectors/fields.ts';
import { parseLabelSelector } from '../selectors/labels.ts';
import { type Endpoint, type OperationDependencies, present, type Target } from './context.ts';

/** Narrows a list. */
export interface ListRequest {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  limit?: number;
  continue?: string;
  resourceVersion?: string;
  resourceVersionMatch?: string;
}

/** A page of objects in the endpoint's version. */
export interface ObjectPage {
  items: ApiObject[];
  resourceVersion: string;
  continue?: string;
  remaining?: number;
}

/** Says whether an object of the endpoint's version is selected. */
export type ObjectMatcher = (object: ApiObject) => boolean;

/** Reads one committed object. @throws ApiError NotFound */
export function getObject({ store }: OperationDependencies, endpoint: Endpoint, target: Target): ApiObject {
  const stored = store.get(endpoint.collection, keyFor(endpoint.kind, target.namespace, target.name));
  if (stored === undefined) throw notFound(endpoint.kind, target.name);
  return present(endpoint, stored);
}

/** Lists committed objects in key order. @throws ApiError BadRequest for selectors and tokens, Expired for a token too old */
export function listObjects(dependencies: OperationDependencies, endpoint: Endpoint, request: ListRequest): ObjectPage {
  const matches = matcher(endpoint, request);
  const from = request.continue === undefined || request.continue === '' ? undefined : parseToken(request.continue);
  const revision = from?.revision ?? exactRevision(dependencies, request);
  const prefix = prefixOf(endpoint, request.namespace);
  const limit = request.limit !== undefined && request.limit > 0 ? request.limit : undefined;

  const items: ApiObject[] = [];
  let after = from?.after;
  let page: StorePage;
  // With selectors a page of the store may give few objects: read on until the caller's page is full.
  do {
    page = storePage(dependencies, endpoint, {
      prefix,
      ...(after === undefined ? {} : { after }),
      ...(limit === undefined ? {} : { limit: limit - items.length }),
      ...(revision === undefined ? {} : { revision }),
    });
    for (const { key, object } of page.items) {
      after = key;
      const presented = present(endpoint, object);
      if (matches(presented)) items.push(presented);
    }
  } while (limit !== undefined && items.length < limit && page.remaining > 0);
  const more = page.remaining > 0 && after !== undefined;
  const unselected = request.labelSelector === undefined && request.fieldSelector === undefined;
  return {
    items,
    resourceVersion: String(page.revision),
    ...(more ? { continue: token(page.revision, after as string) } : {}),
    ...(more && unselected ? { remaining: page.remaining } : {}),
  };
}

/** The selectors and namespace of a request as one predicate. @throws ApiError BadRequest */
export function matcher(
  endpoint: Endpoint,
  request: Pick<ListRequest, 'labelSelector' | 'fieldSelector'>,
): ObjectMatcher {
  const labels = parseLabelSelector(request.labelSelector);
  const fields = parseFieldSelector(endpoint.kind, request.fieldSelector);
  return (object) => labels(object.metadata.labels) && fields.matches(object);
}

/** What keys of a namespace's (or all) objects start with. */
export function prefixOf(endpoint: Endpoint, namespace: string | undefined): string {
  return endpoint.kind.namespaced && namespace !== undefined ? `${namespace}/` : '';
}

/** Parses a resourceVersion. @throws ApiError BadRequest */
export function parseRevision(version: string): number {
  if (!/^\d+$/.test(version))
    throw badRequest(
      `invalid resource version: resourceVersion: Invalid value: ${JSON.stringify(version)}: strconv.ParseUint: parsing ${JSON.stringify(version)}: invalid syntax`,
    );
  return Number(version);
}

function exactRevision({ store }: OperationDependencies, request: ListRequest): number | undefined {
  const { resourceVersion = '', resourceVersionMatch: match = '' } = request;
  const problems: FieldError[] = [];
  const refuse = (reason: FieldError['reason'], message: string) =>
    problems.push({ field: 'resourceVersionMatch', reason, message });
  if (match !== '' && resourceVersion === '')
    refuse('FieldValueForbidden', 'Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided');
  if (match === 'Exact' && resourceVersion === '0')
    refuse('FieldValueForbidden', 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
  if (!['', 'Exact', 'NotOlderThan'].includes(match))
    refuse(
      'FieldValueNotSupported',
      `Unsupported value: ${JSON.stringify(match)}: supported values: "Exact", "NotOlderThan", ""`,
    );
  if (problems.length > 0) throw invalidOptions('ListOptions', problems);
  if (resourceVersion === '') return undefined;
  const revision = parseRevision(resourceVersion);
  if (revision > store.revision) throw futureVersion(revision, store.revision);
  return match === 'Exact' ? revision : undefined;
}

function storePage(
  { store }: OperationDependencies,
  endpoint: Endpoint,
  options: Parameters<typeof store.list>[1],
): StorePage {
  try {
    return store.list(endpoint.collection, options);
  } catch (error) {
    if (error instanceof StoreError && error.code === 'expired')
      throw expired(
        options?.after === undefined
          ? `The resourceVersion for the provided list is too old.`
          : 'The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.',
      );
    throw error;
  }
}

function token(revision: number, after: string): string {
  return Buffer.from(JSON.stringify({ v: 1, revision, after })).toString('base64url');
}

function parseToken(text: string): { revision: number; after: string } {
  try {
    const { v, revision, after } = JSON.parse(Buffer.from(text, 'base64url').toString());
    if (v === 1 && Number.isSafeInteger(revision) && typeof after === 'string') return { revision, after };
  } catch {
    // Answered below.
  }
  throw failure(400, 'BadRequest', 'continue key is not valid: the continue token was not made by this server');
}
