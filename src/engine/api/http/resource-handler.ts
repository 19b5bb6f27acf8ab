import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  badRequest,
  failure,
  invalidOptions,
  methodNotAllowed,
  noSuchResource,
  unsupportedMediaType,
} from '../errors.ts';
import type { Caller } from '../kinds/index.ts';
import type { ApiObject } from '../object.ts';
import {
  type Endpoint,
  type ListRequest,
  type Operations,
  PATCH_TYPES,
  type PatchRequest,
  parseDeleteOptions,
  patchTypesOf,
  type RequestContext,
  reportFields,
  type Target,
} from '../operations/index.ts';
import { readScale, scaleOf, writeScale } from '../operations/scale.ts';
import { applyJsonPatch } from '../patch/json-patch.ts';
import { applyMergePatch } from '../patch/merge-patch.ts';
import type { ReviewHandler } from '../reviews.ts';
import { upgradeRequired } from '../streaming/index.ts';
import { mediaType, readBody, readJson, readYaml } from './body.ts';
import { isSet } from './flag.ts';
import { listText } from './list-text.ts';
import { negotiate } from './negotiate.ts';
import { type PodLogs, parseLogOptions } from './pod-log.ts';
import { type ListPage, representObject, representPage, type Shape } from './represent.ts';
import { parseResourcePath, type ResourcePath } from './request-info.ts';
import { startWatch, type WatchSettings } from './watch-request.ts';

/** What the resource paths are served with. */
export interface ResourceHandlerDependencies {
  operations: Operations;
  review: ReviewHandler;
  clock: () => number;
  watch: WatchSettings;
  podLogs?: PodLogs;
}

/** Parts of a list that is sent bit by bit. */
const LONG_LIST = 100;

interface Call {
  request: FastifyRequest;
  reply: FastifyReply;
  path: ResourcePath;
  query: Record<string, string>;
  context: RequestContext;
}

/** Serves every path below `/api/<version>` and `/apis/<group>/<version>`. */
export function createResourceHandler(dependencies: ResourceHandlerDependencies) {
  const { operations, review, clock } = dependencies;

  return async (request: FastifyRequest, reply: FastifyReply, caller: Caller): Promise<unknown> => {
    const path = parseResourcePath(request.url.split('?', 1)[0] ?? '');
    const query = flatQuery(request.query);
    const call: Call = { request, reply, path, query, context: contextOf(request, reply, query, caller) };
    const answer = path.name === undefined ? review(path.group, path.version, path.plural) : undefined;
    if (answer !== undefined) {
      if (request.method !== 'POST') throw methodNotAllowed();
      return reply.code(201).send(answer(readBody(request.headers['content-type'], request.body), caller));
    }
    const endpoint = operations.endpoint(path.group, path.version, path.plural);
    if (endpoint.version.deprecationWarning !== undefined) call.context.warn(endpoint.version.deprecationWarning);
    if (!endpoint.kind.namespaced && path.namespace !== undefined) throw noSuchResource();
    if (path.name === undefined) return collection(call, endpoint);
    if (endpoint.kind.namespaced && path.namespace === undefined) throw noSuchResource();
    return object(call, endpoint, {
      name: path.name,
      ...(path.namespace === undefined ? {} : { namespace: path.namespace }),
    });
  };

  async function collection(call: Call, endpoint: Endpoint): Promise<unknown> {
    const { request, reply, path, query, context } = call;
    const narrowed = { ...listRequest(query), ...(path.namespace === undefined ? {} : { namespace: path.namespace }) };
    switch (request.method) {
      case 'GET':
        if (isSet(query.watch)) return startWatch(dependencies, endpoint, narrowed, query, reply, () => shapeOf(call));
        return sendPage(reply, representPage(endpoint, operations.list(endpoint, narrowed), shapeOf(call)));
      case 'POST': {
        if (endpoint.kind.namespaced && path.namespace === undefined)
          throw methodNotAllowed(endpoint.kind, request.method);
        const shape = shapeOf(call);
        const body = bodyOf(call, endpoint);
        const created = await operations.create(
          endpoint,
          path.namespace === undefined ? {} : { namespace: path.namespace },
          body,
          context,
        );
        return reply.code(201).send(representObject(endpoint, created, shape));
      }
      case 'DELETE': {
        if (endpoint.kind.deleteCollection === false) throw methodNotAllowed();
        const options = parseDeleteOptions(readBody(request.headers['content-type'], request.body), query);
        const page = operations.list(endpoint, narrowed);
        await Promise.all(page.items.map((item) => operations.delete(endpoint, item.metadata, options, context)));
        return representPage(endpoint, page, shapeOf(call));
      }
      default:
        throw methodNotAllowed(endpoint.kind, request.method);
    }
  }

  async function object(call: Call, endpoint: Endpoint, target: Target): Promise<unknown> {
    const { request, reply, path, query, context } = call;
    const { subresource } = path;
    if (subresource === 'scale' && scaleOf(endpoint) !== undefined) return scale(call, endpoint, target);
    if (subresource === 'log' && endpoint.kind.kind === 'Pod') return log(call, endpoint, target);
    if (endpoint.kind.kind === 'Pod' && ['exec', 'attach', 'portforward'].includes(subresource ?? ''))
      throw upgradeRequired(subresource as string);
    if (subresource !== undefined && !(subresource === 'status' && endpoint.kind.status)) throw noSuchResource();
    const part = subresource === 'status' ? ('status' as const) : undefined;
    switch (request.method) {
      case 'GET':
        return representObject(endpoint, operations.get(endpoint, target), shapeOf(call));
      case 'PUT': {
        const shape = shapeOf(call);
        const body = bodyOf(call, endpoint);
        return representObject(endpoint, await operations.update(endpoint, target, part, body, context), shape);
      }
      case 'PATCH': {
        const shape = shapeOf(call);
        const patch = readPatch(call, endpoint);
        const request = part === undefined ? patch : { ...patch, subresource: part };
        const { object: patched, created } = await operations.patch(endpoint, target, request, context);
        return reply.code(created ? 201 : 200).send(representObject(endpoint, patched, shape));
      }
      case 'DELETE': {
        if (part !== undefined) throw methodNotAllowed(endpoint.kind, request.method);
        const options = parseDeleteOptions(readBody(request.headers['content-type'], request.body), query);
        return withoutCode(await operations.delete(endpoint, target, options, context));
      }
      default:
        throw methodNotAllowed(endpoint.kind, request.method);
    }
  }

  async function scale(call: Call, endpoint: Endpoint, target: Target): Promise<unknown> {
    const { request, context } = call;
    if (request.method === 'GET') return readScale(endpoint, operations.get(endpoint, target));
    if (request.method === 'PUT') {
      const body = readBody(request.headers['content-type'], request.body);
      return writeScale(operations, endpoint, target, () => body, context);
    }
    if (request.method !== 'PATCH') throw methodNotAllowed(endpoint.kind, request.method);
    const { type, body } = readPatch(call, endpoint);
    const change = (value: ApiObject) => (type === 'json' ? applyJsonPatch(value, body) : applyMergePatch(value, body));
    return writeScale(operations, endpoint, target, change, context);
  }

  async function log(call: Call, endpoint: Endpoint, target: Target): Promise<unknown> {
    const { request, reply, query } = call;
    if (request.method !== 'GET') throw methodNotAllowed(endpoint.kind, request.method);
    const pod = operations.get(endpoint, target);
    if (dependencies.podLogs === undefined) throw failure(501, 'NotImplemented', 'this engine keeps no logs of pods');
    const stop = new AbortController();
    reply.raw.once('close', () => stop.abort());
    const options = parseLogOptions(pod, query, stop.signal);
    const pieces = dependencies.podLogs(target.namespace ?? '', target.name, options)[Symbol.asyncIterator]();
    if (!options.follow) return sendLog(reply, pieces, await pieces.next());
    // A follower sees that it is connected before the first line is there, unless there is no log at all.
    const first = pieces.next();
    first.catch(() => {});
    const early = await Promise.race([first, delay(50)]);
    return sendLog(reply, pieces, early ?? first);
  }

  function shapeOf({ request, query }: Call): Shape {
    return { ...negotiate(request.headers.accept), includeObject: query.includeObject ?? 'Metadata', nowMs: clock() };
  }
}

async function sendLog(
  reply: FastifyReply,
  pieces: AsyncIterator<Buffer>,
  first: IteratorResult<Buffer> | Promise<IteratorResult<Buffer>>,
): Promise<unknown> {
  async function* all() {
    for (let piece = await first; !piece.done; piece = await pieces.next()) yield piece.value;
  }
  return reply.type('text/plain').send(Readable.from(all()));
}

/** The object in a request; a field that is there twice is one that the schema does not know. */
function bodyOf({ request, context }: Call, endpoint: Endpoint): unknown {
  const duplicates: string[] = [];
  const body = readBody(request.headers['content-type'], request.body, (field) => duplicates.push(field));
  reportFields(endpoint, 'duplicate', duplicates, context);
  return body;
}

/** Over HTTP the `Status` of a success carries no code. */
function withoutCode(answer: object): unknown {
  if (!('code' in answer)) return answer;
  const { code: _, ...rest } = answer;
  return rest;
}

function readPatch({ request, query }: Call, endpoint: Endpoint): PatchRequest {
  const type = mediaType(request.headers['content-type']);
  const name = (Object.keys(PATCH_TYPES) as PatchRequest['type'][]).find(
    (candidate) => PATCH_TYPES[candidate] === type,
  );
  if (name === undefined || !patchTypesOf(endpoint).includes(type)) throw unsupportedMediaType(patchTypesOf(endpoint));
  const bytes = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
  if (isSet(query.force) && name !== 'apply')
    throw invalidOptions('PatchOptions', [
      { field: 'force', reason: 'FieldValueForbidden', message: 'Forbidden: may not be specified for non-apply patch' },
    ]);
  return {
    type: name,
    body: name === 'apply' ? readYaml(bytes) : readJson(bytes, 'patch'),
    force: isSet(query.force),
  };
}

function contextOf(
  request: FastifyRequest,
  reply: FastifyReply,
  query: Record<string, string>,
  caller: Caller,
): RequestContext {
  const isApply = mediaType(request.headers['content-type']) === PATCH_TYPES.apply;
  if (query.fieldManager !== undefined) checkFieldManager(query.fieldManager, request.method);
  const manager =
    query.fieldManager ?? (isApply ? undefined : (request.headers['user-agent'] ?? 'unknown').split('/', 1)[0]);
  const warnings: string[] = [];
  return {
    caller,
    ...(manager === undefined || manager === '' ? {} : { fieldManager: manager.slice(0, LONGEST_FIELD_MANAGER) }),
    dryRun: dryRunOf(query.dryRun, request.method),
    fieldValidation: fieldValidationOf(query.fieldValidation, request.method),
    warn: (message) => {
      warnings.push(`299 - ${JSON.stringify(message.replace(/[^\x20-\x7e]/g, '?'))}`);
      reply.header('warning', warnings);
    },
  };
}

/** @throws ApiError Invalid for a name that Kubernetes refuses, too (apimachinery, ValidateFieldManager) */
function checkFieldManager(name: string, method: string): void {
  const message =
    name.length > LONGEST_FIELD_MANAGER
      ? `Too long: may not be more than ${LONGEST_FIELD_MANAGER} bytes`
      : /[\p{C}\p{Zl}\p{Zp}]/u.test(name)
        ? `Invalid value: ${JSON.stringify(name)}: should only contain printable characters`
        : undefined;
  if (message === undefined) return;
  const reason = name.length > LONGEST_FIELD_MANAGER ? 'FieldValueTooLong' : 'FieldValueInvalid';
  throw invalidOptions(OPTIONS_OF[method] ?? 'PatchOptions', [{ field: 'fieldManager', reason, message }]);
}

const LONGEST_FIELD_MANAGER = 128;

const OPTIONS_OF: Record<string, string> = {
  POST: 'CreateOptions',
  PUT: 'UpdateOptions',
  PATCH: 'PatchOptions',
  DELETE: 'DeleteOptions',
};

function dryRunOf(value: string | undefined, method: string): boolean {
  if (value === undefined || value === '') return false;
  if (value === 'All') return true;
  const message = `Unsupported value: [${JSON.stringify(value)}]: supported values: "All"`;
  throw invalidOptions(OPTIONS_OF[method] ?? 'ListOptions', [
    { field: 'dryRun', reason: 'FieldValueNotSupported', message },
  ]);
}

function fieldValidationOf(value: string | undefined, method: string): RequestContext['fieldValidation'] {
  if (value === undefined || value === '') return 'Warn';
  if (value === 'Strict' || value === 'Warn' || value === 'Ignore') return value;
  const message = `Unsupported value: ${JSON.stringify(value)}: supported values: "", "Ignore", "Strict", "Warn"`;
  throw invalidOptions(OPTIONS_OF[method] ?? 'ListOptions', [
    { field: 'fieldValidation', reason: 'FieldValueNotSupported', message },
  ]);
}

/** A long list leaves bit by bit. */
function sendPage(reply: FastifyReply, page: ListPage): unknown {
  const { items, rows, ...head } = page;
  const [field, parts] = rows === undefined ? (['items', items ?? []] as const) : (['rows', rows] as const);
  if (parts.length < LONG_LIST) return page;
  return reply
    .type('application/json; charset=utf-8')
    .send(Readable.from(listText({ field, parts, head }), { objectMode: false }));
}

function listRequest(query: Record<string, string>): ListRequest {
  const { limit, labelSelector, fieldSelector, resourceVersion, resourceVersionMatch } = query;
  if (limit !== undefined && limit !== '' && !/^\d+$/.test(limit))
    throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(limit)}: invalid syntax`);
  return {
    ...(limit === undefined || limit === '' ? {} : { limit: Number(limit) }),
    ...(query.continue === undefined ? {} : { continue: query.continue }),
    ...(labelSelector === undefined ? {} : { labelSelector }),
    ...(fieldSelector === undefined ? {} : { fieldSelector }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(resourceVersionMatch === undefined ? {} : { resourceVersionMatch }),
  };
}

/** The last of several equal parameters counts. */
function flatQuery(query: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(query as Record<string, string | string[]>).map(([name, value]) => [
      name,
      Array.isArray(value) ? (value.at(-1) ?? '') : value,
    ]),
  );
}
