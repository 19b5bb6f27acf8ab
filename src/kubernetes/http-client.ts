import { setTimeout as delay } from 'node:timers/promises';
import { Agent, type Dispatcher } from 'undici';
import type { ListOptions, ResourceClient, ResourceList, ResourceType, WatchEvent, WatchOptions } from './client.ts';
import { ApiError } from './errors.ts';
import { parseJsonLines } from './json-lines.ts';
import type { ApiAccess } from './kube-config.ts';
import { apiPath, apiVersionOf } from './resources.ts';
import { statusOf } from './status.ts';
import type { KubernetesObject, Status } from './types.ts';

/** A {@link ResourceClient} over HTTP, with what only a remote API needs. */
export interface HttpResourceClient extends ResourceClient {
  /** GET of any path of the API, parsed: discovery, `/version`. */
  read<Result>(path: string): Promise<Result>;
  close(): Promise<void>;
}

/** Longest wait for an answer that is not a watch. */
const REQUEST_TIMEOUT_MS = 30_000;
/** A server that is too busy is asked so often in all, after the pause it wishes for but this one at most. */
const ATTEMPTS_WHEN_BUSY = 4;
const LONGEST_WAIT_WHEN_BUSY_MS = 2000;
/** A watch without any line, bookmarks included, for so long is taken for dead. */
const WATCH_SILENCE_MS = 150_000;
/** The server is asked to end a watch after this time, so that a lost connection can't go unnoticed for ever. */
const WATCH_TIMEOUT_SECONDS = 120;

const PATCH_TYPES = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

/**
 * Speaks to an API server over a keep-alive pool. Every failure is an {@link ApiError}; where no answer came (refused, reset, timed out) its
 * code is `Unreachable`, and a write may or may not have happened.
 */
export function createHttpResourceClient(access: ApiAccess): HttpResourceClient {
  const { origin, pathname } = new URL(access.server);
  const prefix = pathname.replace(/\/+$/, '');
  const agent = new Agent({
    connections: 64,
    // A connection for each watch: none shares a wake's connection and its flow control, as HTTP/2 would have it.
    allowH2: false,
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
    for (let attempt = 1; ; attempt++) {
      const response = await agent
        .request({
          origin,
          path: prefix + path,
          method,
          headers: body === undefined ? headers : { ...headers, 'content-type': contentType },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          ...(signal === undefined ? {} : { signal }),
        })
        .catch(unreachable);
      if (response.statusCode < 300) return response;
      const status = statusOf(response.statusCode, await response.body.text().catch(unreachable), `${method} ${path}`);
      // A server that says 429 has done nothing yet: priority and fairness, or storage that is being set up.
      if (response.statusCode !== 429 || attempt === ATTEMPTS_WHEN_BUSY) throw new ApiError(status);
      const waitMs = Math.min(LONGEST_WAIT_WHEN_BUSY_MS, (status.details?.retryAfterSeconds ?? 1) * 1000);
      await delay(waitMs, undefined, signal === undefined ? {} : { signal }).catch(unreachable);
    }
  }

  function unreachable(cause: unknown): never {
    const detail = cause instanceof Error ? cause.message || cause.name : String(cause);
    const message = `no answer from the API server at ${access.server}: ${detail}`;
    const error = new ApiError({ ...statusOf(503, '', ''), reason: 'Unreachable', message });
    error.cause = cause;
    throw error;
  }

  async function json<Result>(
    method: Dispatcher.HttpMethod,
    path: string,
    body?: unknown,
    contentType?: string,
  ): Promise<Result> {
    const response = await request(method, path, body, contentType);
    return (await response.body.json().catch(unreachable)) as Result;
  }

  return {
    get: (type, key) => json('GET', apiPath(type, key.namespace, key.name)),

    list: async <T extends KubernetesObject>(
      type: ResourceType,
      options: ListOptions = {},
    ): Promise<ResourceList<T>> => {
      const list = await json<{ items: T[] | null; metadata: { resourceVersion: string; continue?: string } }>(
        'GET',
        apiPath(type, options.namespace) +
          query(selectors(options, { limit: options.limit, continue: options.continue })),
      );
      const next = list.metadata.continue;
      const items = list.items ?? [];
      for (const item of items) {
        // Items of built-in lists come without these.
        item.apiVersion ??= apiVersionOf(type);
        item.kind ??= type.kind;
      }
      return {
        items,
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
        timeoutSeconds: options.timeoutSeconds ?? WATCH_TIMEOUT_SECONDS,
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
        for await (const line of parseJsonLines(response.body)) {
          const event = line as { type: string; object: unknown };
          if (event.type === 'ERROR')
            throw new ApiError(statusOf((event.object as Status).code, JSON.stringify(event.object), 'watch'));
          yield event as WatchEvent<T>;
        }
      } catch (error) {
        if (options.signal.aborted) return;
        if (error instanceof ApiError) throw error;
        unreachable(error);
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

function selectors(
  options: Omit<ListOptions, 'limit' | 'continue'>,
  more: Record<string, string | number | undefined>,
) {
  return { ...more, labelSelector: options.labelSelector, fieldSelector: options.fieldSelector };
}

function query(parameters: Record<string, string | number | undefined>): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined && value !== '') given.set(name, String(value));
  return given.size === 0 ? '' : `?${given}`;
}
