import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import type { ResourceClient, ResourceType } from './client.ts';
import { isApiError } from './errors.ts';
import type { KubernetesObject } from './types.ts';

/** What a reflector follows, and whom it tells. Objects are handed over one at a time and never kept. */
export interface ReflectorOptions {
  client: ResourceClient;
  type: ResourceType;
  /** One namespace; without it, all. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /** A (re)list begins: what is not seen again until {@link ReflectorOptions.listed} is gone. */
  listing(): void;
  listed(): void;
  upserted(object: KubernetesObject): void;
  deleted(object: KubernetesObject): void;
  /** Told of every failure; the reflector goes on by itself. */
  failed?(error: unknown): void;
  /** Length of a watch: whoever must know soon that nothing changed asks for short ones. Some minutes without it. */
  watchSeconds?: number;
  random?: () => number;
  /** Objects in a page of a list. */
  pageSize?: number;
}

/** A running reflector. */
export interface Reflector {
  /** Resolves when the first list is complete. */
  synced: Promise<void>;
  isSynced(): boolean;
  /** Milliseconds on the monotonic clock at which the server was last heard of. */
  lastContactMs(): number;
  close(): void;
}

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 10_000;
const SHORTEST_WATCH_MS = 500;
/** After so long at a stretch whoever else waits has a turn: a server may have thousands of objects to tell of at once. */
const TURN_MS = 1;

/**
 * Follows a resource type: lists in pages, watches with bookmarks, lists again when its version is too old (410), and retries with exponential
 * back-off and full jitter. While the server is away nobody is told anything: what was known stays known.
 */
export function createReflector(options: ReflectorOptions): Reflector {
  const closing = new AbortController();
  const first = Promise.withResolvers<void>();
  const random = options.random ?? Math.random;
  const scope = {
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
    ...(options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
    ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector }),
  };
  let lastContactMs = performance.now();
  let turnEndsMs = 0;
  let synced = false;
  first.promise.catch(() => {});

  /** The server was heard of; undefined unless it is somebody else's turn, which is awaited. */
  function heard(): Promise<void> | undefined {
    lastContactMs = performance.now();
    if (lastContactMs < turnEndsMs) return undefined;
    return nextTurn().then(() => {
      turnEndsMs = performance.now() + TURN_MS;
    });
  }

  async function listAll(): Promise<string> {
    options.listing();
    let page: string | undefined;
    let version = '';
    do {
      const list = await options.client.list(options.type, {
        ...scope,
        limit: options.pageSize ?? 500,
        ...(page === undefined ? {} : { continue: page }),
      });
      for (const object of list.items) {
        options.upserted(object);
        const turn = heard();
        if (turn !== undefined) await turn;
      }
      // The first page's version is the safe one to watch from: later pages of some servers are newer.
      if (version === '') version = list.resourceVersion;
      page = list.continue;
      lastContactMs = performance.now();
    } while (page !== undefined);
    options.listed();
    synced = true;
    first.resolve();
    return version;
  }

  async function follow(): Promise<void> {
    let version: string | undefined;
    let failures = 0;
    while (!closing.signal.aborted) {
      const startedMs = performance.now();
      try {
        version ??= await listAll();
        for await (const event of options.client.watch(options.type, {
          ...scope,
          resourceVersion: version,
          ...(options.watchSeconds === undefined ? {} : { timeoutSeconds: options.watchSeconds }),
          signal: closing.signal,
        })) {
          const turn = heard();
          if (turn !== undefined) await turn;
          if (closing.signal.aborted) return;
          failures = 0;
          version = event.object.metadata.resourceVersion ?? version;
          if (event.type === 'DELETED') options.deleted(event.object);
          else if (event.type !== 'BOOKMARK') options.upserted(event.object);
        }
        lastContactMs = performance.now();
        // Servers end watches as a matter of course, but one that ends them at once must not make this spin.
        const restMs = SHORTEST_WATCH_MS - (performance.now() - startedMs);
        if (restMs > 0) await delay(restMs, undefined, { signal: closing.signal }).catch(() => {});
      } catch (error) {
        if (closing.signal.aborted) return;
        const expired = isApiError(error, 'Expired') || isApiError(error, 'Gone');
        if (expired || !synced) version = undefined;
        if (!expired) options.failed?.(error);
        if (expired && failures === 0) {
          failures++;
          continue;
        }
        const longestMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures++);
        await delay(random() * longestMs, undefined, { signal: closing.signal }).catch(() => {});
      }
    }
  }

  follow().catch((error) => options.failed?.(error));
  return {
    synced: first.promise,
    isSynced: () => synced,
    lastContactMs: () => lastContactMs,
    close: () => {
      closing.abort();
      first.reject(new Error('the reflector was closed'));
    },
  };
}
