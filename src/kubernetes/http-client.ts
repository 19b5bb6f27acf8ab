import { Agent, type Dispatcher } from 'undici';
import type { ListOptions, ResourceClient, ResourceList, ResourceType, WatchEvent, WatchOptions } from './client.ts';
import { ApiError } from './errors.ts';
import type { ApiAccess } from './kube-config.ts';
import { apiPath } from './resources.ts';
import type { KubernetesObject, Status } from './types.ts';

/** A {@link ResourceClient} over HTTP, with what only a remote API needs. */
export interface HttpResourceClient extends ResourceClient {
  /** GET of any path of the API, parsed: discovery, `/version`. */
  read<Result>(path: string): Promise<Result>;
  close(): Promise<void>;
}

/** Longest wait for an answer that is not a watch. */
const REQUEST_TIMEOUT_MS = 30_000;
/** A watch without any line, bookmarks included, for so long is taken for dead. */
const WATCH_SILENCE_MS = 150_000;
/** The server is asked to end a watch after this time, so that a lost connection can't go unnoticed for ever. */
const WATCH_TIMEOUT_SECONDS = 120;

const PATCH_TYPES = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

/** Speaks to an API server over a keep-alive pool. */
export function createHttpResourceClient(access: ApiAccess): HttpResourceClient {
  const agent = new Agent({
    connections: 64,
    keepAliveTimeout: 60_000,
    headersTimeout: REQUEST_TIMEOUT_MS,
    bodyTimeout: WATCH_SILENCE_MS,
    connect: {
      timeout: 10_000,
      rejectUnauthorized: !access.skipVerify,
      ...(access.serverName === undefined ? {} : { servername: access.serverName }),
      ...(access.ca === undefined ? {} : { ca: access.ca }),
      ...(access.certificate === undefined ? {} : { cert: access.certificate }),
      ...(access.key === undefined ? {} : { key: access.key }),
    },
  });

  async function request(
    method: Dispatcher.HttpMethod,
    path: string,
    body?: unknown,
    contentType = 'application/json',
    signal?: AbortSignal,
  ) {
    const headers = { ...(await access.authenticate()), accept: 'application/json', 'user-agent': 'sandbox-router' };
    const response = await agent.request({
      origin: access.server,
      path,
      method,
      headers: body === undefined ? headers : { ...headers, 'content-type': contentType },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
    if (response.statusCode >= 400)
      throw new ApiError(readStatus(await response.body.text(), response.statusCode, `${method} ${path}`));
    return response;
  }

  async function json<Result>(
    method: Dispatcher.HttpMethod,
    path: string,
    body?: unknown,
    contentType?: string,
  ): Promise<Result> {
    const response = await request(method, path, body, contentType);
    return (await response.body.json()) as Result;
  }

  return {
    get: (type, key) => json('GET', apiPath(type, key.namespace, key.name)),

    list: async <T extends KubernetesObject>(
      type: ResourceType,
      options: ListOptions = {},
    ): Promise<ResourceList<T>> => {
      const list = await json<{ items: T[]; metadata: { resourceVersion: string; continue?: string } }>(
        'GET',
        apiPath(type, options.namespace) +
          query(selectors(options, { limit: options.limit, continue: options.continue })),
      );
      const next = list.metadata.continue;
      return {
        items: list.items,
        resourceVersion: list.metadata.resourceVersion,
        ...(next === undefined || next === '' ? {} : { continue: next }),
      };
    },

    watch: async function* <T extends KubernetesObject>(
      type: ResourceType,
      options: WatchOptions,
    ): AsyncGenerator<WatchEvent<T>> {
      const parameters = selectors(options, {
        watch: 'true',
        allowWatchBookmarks: 'true',
        timeoutSeconds: WATCH_TIMEOUT_SECONDS,
        resourceVersion: options.resourceVersion,
      });
      try {
        const response = await request(
          'GET',
          apiPath(type, options.namespace) + query(parameters),
          undefined,
          undefined,
          options.signal,
        );
        for await (const line of jsonLines(response.body)) {
          const event = JSON.parse(line) as { type: string; object: unknown };
          if (event.type === 'ERROR') throw new ApiError(event.object as Status);
          yield event as WatchEvent<T>;
        }
      } catch (error) {
        if (!options.signal.aborted) throw error;
      }
    },

    create: (type, object) => json('POST', apiPath(type, object.metadata.namespace), object),
    update: (type, object, subresource) =>
      json('PUT', apiPath(type, object.metadata.namespace, object.metadata.name, subresource), object),
    patch: (type, key, patch, options) => {
      const parameters = { fieldManager: options.fieldManager, force: options.force === true ? 'true' : undefined };
      return json(
        'PATCH',
        apiPath(type, key.namespace, key.name, options.subresource) + query(parameters),
        patch,
        PATCH_TYPES[options.type],
      );
    },
    delete: async (type, key, options = {}) => {
      const preconditions = { uid: options.uid, resourceVersion: options.resourceVersion };
      const body = {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        gracePeriodSeconds: options.gracePeriodSeconds,
        propagationPolicy: options.propagationPolicy,
        ...(options.uid === undefined && options.resourceVersion === undefined ? {} : { preconditions }),
      };
      await json('DELETE', apiPath(type, key.namespace, key.name), body);
    },
    read: (path) => json('GET', path),
    close: () => agent.destroy(),
  };
}

/** Lines of a stream; a chunk may end inside a line or inside a character. */
async function* jsonLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true });
    let start = 0;
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n', start)) {
      if (end > start) yield rest.slice(start, end);
      start = end + 1;
    }
    rest = rest.slice(start);
  }
}

function selectors(
  options: Omit<ListOptions, 'limit' | 'continue'>,
  more: Record<string, string | number | undefined>,
) {
  return { ...more, labelSelector: options.labelSelector, fieldSelector: options.fieldSelector };
}

function query(parameters: Record<string, string | number | undefined>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== '');
  return given.length === 0 ? '' : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

function readStatus(text: string, statusCode: number, call: string): Status {
  try {
    const status = JSON.parse(text) as Status;
    if (status.kind === 'Status') return status;
  } catch {
    // Not from the API server itself: a proxy before it.
  }
  const message = `${call} answered ${statusCode}: ${text.slice(0, 200)}`;
  return {
    apiVersion: 'v1',
    kind: 'Status',
    metadata: {},
    status: 'Failure',
    reason: 'Unknown',
    code: statusCode,
    message,
  };
}
