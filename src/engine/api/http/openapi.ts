import { createHash } from 'node:crypto';
import { apiVersion, type Kind, type KindVersion, type ReviewKind } from '../kinds/index.ts';
import type { Schema } from '../schema/schema.ts';
import type { DiscoverySource } from './discovery.ts';

/** OpenAPI documents: v3 one per group and version, v2 one for all. */
export interface OpenApi {
  v3Index: unknown;
  v3: (path: string) => unknown;
  v2: unknown;
}

interface Served {
  group: string;
  version: string;
  kind: string;
  plural: string;
  namespaced: boolean;
  schema: Schema;
  builtIn: boolean;
  stored: boolean;
}

/** Builds the documents once. */
export function createOpenApi(source: DiscoverySource): OpenApi {
  const served: Served[] = [
    ...source.kinds.flatMap((kind) => kind.versions.map((version) => servedKind(kind, version))),
    ...source.reviews.map(servedReview),
  ];
  const byPath = Map.groupBy(served, ({ group, version }) =>
    group === '' ? `api/${version}` : `apis/${group}/${version}`,
  );
  const documents = new Map([...byPath].map(([path, list]) => [path, documentV3(path, list)]));
  return {
    v3Index: {
      paths: Object.fromEntries(
        [...documents].map(([path, document]) => [
          path,
          { serverRelativeURL: `/openapi/v3/${path}?hash=${digest(document)}` },
        ]),
      ),
    },
    v3: (path) => documents.get(path),
    v2: {
      swagger: '2.0',
      info: { title: 'Sandbox Router engine', version: 'v1' },
      paths: {},
      definitions: Object.fromEntries(served.map((one) => [schemaName(one), documented(one)])),
    },
  };
}

function servedKind(kind: Kind, version: KindVersion): Served {
  const { group, plural, namespaced, builtIn } = kind;
  return {
    group,
    version: version.version,
    kind: kind.kind,
    plural,
    namespaced,
    schema: version.schema,
    builtIn,
    stored: true,
  };
}

function servedReview({ group, version, kind, plural, schema }: ReviewKind): Served {
  return { group, version, kind, plural, namespaced: false, schema, builtIn: true, stored: false };
}

function digest(document: unknown): string {
  return createHash('sha256').update(JSON.stringify(document)).digest('hex').slice(0, 32).toUpperCase();
}

function schemaName({ group, version, kind }: Served): string {
  const reversed = group === '' ? 'io.k8s.api.core' : group.split('.').reverse().join('.');
  return `${reversed}.${version}.${kind}`;
}

function gvk({ group, version, kind }: Served) {
  return { group, version, kind };
}

function documented(one: Served): unknown {
  return { ...one.schema, 'x-kubernetes-group-version-kind': [gvk(one)] };
}

function documentV3(path: string, list: Served[]): unknown {
  return {
    openapi: '3.0.0',
    info: { title: 'Sandbox Router engine', version: 'v1' },
    paths: Object.assign({}, ...list.map((one) => pathsOf(`/${path}`, one))),
    components: { schemas: Object.fromEntries(list.map((one) => [schemaName(one), withMergeKeys(documented(one))])) },
  };
}

const WRITE_PARAMETERS = ['dryRun', 'fieldManager', 'fieldValidation'];

function pathsOf(root: string, one: Served): Record<string, unknown> {
  const reference = { $ref: `#/components/schemas/${schemaName(one)}` };
  const answer = { responses: { 200: { description: 'OK', content: { 'application/json': { schema: reference } } } } };
  const operation = (action: string, parameters: string[], types: string[] = []) => ({
    operationId: `${action}${apiVersion(one.group, one.version).replace(/[^A-Za-z0-9]/g, '')}${one.kind}`,
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': gvk(one),
    parameters: parameters.map((name) => ({ name, in: 'query', schema: { type: 'string', uniqueItems: true } })),
    ...(types.length === 0
      ? {}
      : { requestBody: { content: Object.fromEntries(types.map((type) => [type, { schema: reference }])) } }),
    ...answer,
  });
  const collection = `${root}${one.namespaced ? '/namespaces/{namespace}' : ''}/${one.plural}`;
  const place = one.namespaced ? [{ name: 'namespace', in: 'path', required: true, schema: { type: 'string' } }] : [];
  const post = operation('post', WRITE_PARAMETERS, ['application/json', 'application/yaml']);
  if (!one.stored) return { [collection]: { parameters: place, post } };
  const patchTypes = [
    'application/json-patch+json',
    'application/merge-patch+json',
    ...(one.builtIn ? ['application/strategic-merge-patch+json'] : []),
    'application/apply-patch+yaml',
  ];
  return {
    [collection]: {
      parameters: place,
      get: operation('list', ['labelSelector', 'fieldSelector', 'limit', 'continue', 'resourceVersion', 'watch']),
      post,
    },
    [`${collection}/{name}`]: {
      parameters: [...place, { name: 'name', in: 'path', required: true, schema: { type: 'string' } }],
      get: operation('get', []),
      put: operation('put', WRITE_PARAMETERS, ['application/json', 'application/yaml']),
      patch: operation('patch', [...WRITE_PARAMETERS, 'force'], patchTypes),
      delete: operation('delete', ['dryRun', 'gracePeriodSeconds', 'propagationPolicy']),
    },
  };
}

/** Adds the keys by which clients compute strategic merge patches to lists that merge. */
function withMergeKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withMergeKeys);
  if (typeof value !== 'object' || value === null) return value;
  const copy = Object.fromEntries(Object.entries(value).map(([name, part]) => [name, withMergeKeys(part)]));
  const { 'x-kubernetes-list-type': type, 'x-kubernetes-list-map-keys': keys } = value as Schema;
  if (type === 'map' && keys?.[0] !== undefined)
    Object.assign(copy, { 'x-kubernetes-patch-strategy': 'merge', 'x-kubernetes-patch-merge-key': keys[0] });
  if (type === 'set') Object.assign(copy, { 'x-kubernetes-patch-strategy': 'merge' });
  return copy;
}
