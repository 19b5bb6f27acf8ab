import { setTimeout as delay } from 'node:timers/promises';
import {
  createReflector,
  discoverSandboxForm,
  type HttpResourceClient,
  isApiError,
  PODS,
  type Reflector,
  type SandboxForm,
  V1BETA1_FORM,
} from '../kubernetes/index.ts';
import type { PodJudge } from './policy/index.ts';
import { projectLabels, projectPod, projectSandbox, type RoutingTable } from './table/index.ts';

/** The reflectors that keep a table in step with an API server. */
export interface TableFeed {
  /** Resolves when the table is complete for the first time; rejects if the feed is closed before. */
  synced: Promise<void>;
  isSynced(): boolean;
  /** Milliseconds since the API server was last heard of by the most silent reflector. */
  ageMs(): number;
  /** Objects and changes taken in so far. */
  eventCount(): number;
  /** The form in which Sandboxes are served; the newest until that is known. */
  form(): SandboxForm;
  close(): void;
}

/** What is followed, and where. */
export interface TableFeedOptions {
  client: HttpResourceClient;
  table: RoutingTable;
  /** All if empty. */
  namespaces: readonly string[];
  /** Label selector of Sandboxes; all if undefined. Pods of others are known, but lead nowhere. */
  sandboxSelector: string | undefined;
  /** Told of each pod before the table is, and of each that went. */
  judge: Pick<PodJudge, 'judge' | 'forget'>;
  /** The table's age is known to within this time; 0 where nobody asks. */
  maxAgeMs: number;
  failed(error: unknown): void;
}

/** How long to wait before asking again what is served. */
const DISCOVERY_RETRY_MS = 2000;

/** Nothing that the router could route to. */
export class AgentSandboxMissingError extends Error {
  readonly code = 'agent_sandbox_missing';

  constructor() {
    super(
      'The API server serves no Sandboxes (agents.x-k8s.io v1beta1 or v1alpha1, sandbox.gke.io v1). Install Agent Sandbox; the router goes on looking.',
    );
  }
}

/** Follows Sandboxes and the Pods of Sandboxes, in some namespaces or all. While the server is away the table keeps what it knows. */
export function startTableFeed(options: TableFeedOptions): TableFeed {
  const { client, table, failed } = options;
  // A quiet watch says nothing for a minute: those that end by themselves tell that there was nothing to say.
  const watchSeconds = options.maxAgeMs === 0 ? undefined : Math.max(1, Math.floor(options.maxAgeMs / 3000));
  const watching = { client, ...(watchSeconds === undefined ? {} : { watchSeconds }) };
  const scopes = options.namespaces.length === 0 ? [undefined] : options.namespaces;
  const closing = new AbortController();
  const first = Promise.withResolvers<void>();
  first.promise.catch(() => {});
  let events = 0;
  let form: SandboxForm | undefined;
  let lastFailure = '';
  let sandboxReflectors: Reflector[] = [];
  const podReflectors = scopes.map((namespace) =>
    createReflector({
      ...watching,
      failed,
      ...(namespace === undefined ? {} : { namespace }),
      type: PODS,
      labelSelector: 'agents.x-k8s.io/sandbox-name-hash',
      listing: () => table.beginReplace('pods', namespace),
      listed: () => void table.endReplace('pods', namespace),
      upserted: (object) => {
        events++;
        const record = projectPod(object);
        if (record === undefined) return;
        options.judge.judge(record, projectLabels(object));
        table.upsertPod(record);
      },
      deleted: ({ metadata }) => {
        events++;
        table.deletePod(metadata.uid ?? '');
        options.judge.forget(metadata.namespace ?? '', metadata.uid ?? '');
      },
    }),
  );
  const reflectors = () => [...podReflectors, ...sandboxReflectors];

  function followSandboxes(found: SandboxForm): Reflector[] {
    return scopes.map((namespace) =>
      createReflector({
        ...watching,
        ...(namespace === undefined ? {} : { namespace }),
        ...(options.sandboxSelector === undefined ? {} : { labelSelector: options.sandboxSelector }),
        type: found.type,
        listing: () => table.beginReplace('sandboxes', namespace),
        listed: () => void table.endReplace('sandboxes', namespace),
        upserted: (object) => {
          events++;
          table.upsertSandbox(projectSandbox(object, found));
        },
        deleted: ({ metadata }) => {
          events++;
          table.deleteSandbox(metadata.namespace ?? '', metadata.name, metadata.uid ?? '');
        },
        failed: (error) => {
          failed(error);
          // The version is served no more: look for another. The table keeps what it knows meanwhile.
          if (isApiError(error, 'NotFound') && form === found) discover();
        },
      }),
    );
  }

  async function discover(): Promise<void> {
    form = undefined;
    for (const reflector of sandboxReflectors) reflector.close();
    while (!closing.signal.aborted) {
      try {
        const found = await discoverSandboxForm(client);
        if (found !== undefined) {
          form = found;
          sandboxReflectors = followSandboxes(found);
          Promise.all(reflectors().map(({ synced }) => synced)).then(
            () => first.resolve(),
            () => {},
          );
          return;
        }
        report(new AgentSandboxMissingError());
      } catch (error) {
        report(error);
      }
      await delay(DISCOVERY_RETRY_MS, undefined, { signal: closing.signal }).catch(() => {});
    }
  }

  /** The same failure again and again is one failure. */
  function report(error: unknown): void {
    if ((error as Error).message !== lastFailure) failed(error);
    lastFailure = (error as Error).message;
  }

  discover();
  return {
    synced: first.promise,
    isSynced: () => sandboxReflectors.length > 0 && reflectors().every((reflector) => reflector.isSynced()),
    ageMs: () => performance.now() - Math.min(...reflectors().map((reflector) => reflector.lastContactMs())),
    eventCount: () => events,
    form: () => form ?? V1BETA1_FORM,
    close: () => {
      closing.abort();
      first.reject(new Error('the feed was closed'));
      for (const reflector of reflectors()) reflector.close();
    },
  };
}
