import type { ResourceClient } from '../../kubernetes/index.ts';
import type { Store } from '../store/index.ts';
import { createInProcessClient } from './client.ts';
import { createTokenLookup, type EngineToken } from './http/authentication.ts';
import type { PodLogs } from './http/pod-log.ts';
import { type ApiServer, type ListenOptions, listen } from './http/server.ts';
import { type Caller, KINDS, type Kind } from './kinds/index.ts';
import { reviewKinds } from './kinds/reviews.ts';
import { startExpiry } from './lifecycle/expiry.ts';
import { startGarbageCollector } from './lifecycle/garbage-collector.ts';
import { ensureNamespaces, startNamespaceController } from './lifecycle/namespaces.ts';
import { createOperations } from './operations/index.ts';
import { createReviewHandler } from './reviews.ts';
import type { PodStreams } from './streaming/index.ts';

/** What the API is made with. */
export interface EngineApiOptions {
  store: Store;
  /** Milliseconds since the epoch. */
  clock: () => number;
  /** That many random bytes, for UIDs and generated names. */
  random: (size: number) => Uint8Array;
  /** The administrator's bearer token. */
  token: string;
  /** More tokens, each with its bearer. */
  tokens?: EngineToken[];
  /** Reads logs of Pods; without it their `log` answers 501. */
  podLogs?: PodLogs;
  /** Ways into running Pods; without them `exec`, `attach` and `portforward` answer 501. */
  podStreams?: PodStreams;
  /** Kinds to serve; all by default. */
  kinds?: readonly Kind[];
  /** Milliseconds between bookmarks of a watch; a minute by default. */
  bookmarkIntervalMs?: number;
  /** Hears of background work that failed and will be tried again. */
  report?: (error: unknown, doing: string) => void;
}

/** The engine's API: one set of operations, two ways in. */
export interface EngineApi {
  /** For controllers in this process. */
  client: ResourceClient;
  /** Starts the HTTPS server; may be called once for each address. */
  listen(options: ListenOptions): Promise<ApiServer>;
  /** Ends servers and background work; the store stays open. */
  close(): Promise<void>;
}

const ADMINISTRATOR: Caller = { name: 'sandbox-router:admin', groups: ['system:masters', 'system:authenticated'] };

/** Makes the API over a store: permanent namespaces are there, garbage collection, namespace deletion and expiry run. */
export async function createEngineApi(options: EngineApiOptions): Promise<EngineApi> {
  const { store, clock, random, kinds = KINDS, report = () => {} } = options;
  if (options.token === '') throw new Error('the engine API needs a token that is not empty');
  const operations = createOperations({ store, clock, random, kinds });
  const tokens = createTokenLookup([{ token: options.token, caller: ADMINISTRATOR }, ...(options.tokens ?? [])]);
  const reviews = reviewKinds(tokens);
  const review = createReviewHandler(reviews);
  const lifecycle = { store, operations, kinds: kinds.filter(({ storedAs }) => storedAs === undefined), report };
  await ensureNamespaces(lifecycle);
  const stops = [startGarbageCollector(lifecycle), startNamespaceController(lifecycle), startExpiry(lifecycle, clock)];
  const servers: ApiServer[] = [];
  let closed = false;

  return {
    client: createInProcessClient(operations, review, ADMINISTRATOR),
    async listen(listenOptions) {
      const server = await listen(
        {
          operations,
          review,
          kinds,
          reviews,
          tokens,
          clock,
          bookmarkIntervalMs: options.bookmarkIntervalMs ?? 60_000,
          isReady: () => !closed,
          ...(options.podLogs === undefined ? {} : { podLogs: options.podLogs }),
          ...(options.podStreams === undefined ? {} : { podStreams: options.podStreams }),
        },
        listenOptions,
      );
      servers.push(server);
      return server;
    },
    async close() {
      closed = true;
      for (const stop of stops) stop();
      await Promise.all(servers.map((server) => server.close()));
    },
  };
}
