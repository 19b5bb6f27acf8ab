import { isApiError } from '../../../kubernetes/index.ts';
import { collectionOf } from '../kinds/kind.ts';
import { namespace as namespaceKind } from '../kinds/namespace.ts';
import { type ApiObject, at } from '../object.ts';
import { PERMANENT_NAMESPACES } from '../operations/delete.ts';
import type { RequestContext } from '../operations/index.ts';
import type { LifecycleDependencies } from './garbage-collector.ts';

const CONTEXT: RequestContext = {
  caller: { name: 'namespace-controller', groups: [] },
  dryRun: false,
  fieldValidation: 'Ignore',
  warn: () => {},
};

/** Makes the namespaces that are always there. */
export async function ensureNamespaces({ store, operations }: LifecycleDependencies): Promise<void> {
  const endpoint = operations.endpoint('', 'v1', 'namespaces');
  for (const name of PERMANENT_NAMESPACES)
    if (store.latest('namespaces', name) === undefined)
      await operations.create(endpoint, {}, { metadata: { name } }, CONTEXT);
}

/** Empties namespaces that are being deleted and removes them once nothing is left in them. Returns how to stop it. */
export function startNamespaceController({ store, operations, kinds, report }: LifecycleDependencies): () => void {
  const namespaces = operations.endpoint('', 'v1', 'namespaces');
  const namespaced = kinds.filter((kind) => kind.namespaced);
  const terminating = new Set<string>();
  const dirty = new Set<string>();
  let running = false;
  let stopped = false;

  function look(): void {
    const now = store
      .list(collectionOf(namespaceKind))
      .items.filter(({ object }) => object.metadata.deletionTimestamp !== undefined);
    const names = new Set(now.map(({ key }) => key));
    for (const name of terminating) if (!names.has(name)) terminating.delete(name);
    for (const name of names)
      if (!terminating.has(name)) {
        terminating.add(name);
        mark(name);
      }
  }

  function mark(name: string): void {
    dirty.add(name);
    if (running || stopped) return;
    running = true;
    setImmediate(() => void work());
  }

  async function work(): Promise<void> {
    for (const name of dirty) {
      dirty.delete(name);
      if (stopped) break;
      try {
        await empty(name);
      } catch (error) {
        report(error, `empty namespace ${name}`);
        setTimeout(() => mark(name), 1000).unref();
      }
    }
    running = false;
  }

  async function empty(name: string): Promise<void> {
    let left = 0;
    for (const kind of namespaced) {
      const endpoint = operations.storedEndpoint(collectionOf(kind));
      if (endpoint === undefined) continue;
      for (const { object } of store.list(endpoint.collection, { prefix: `${name}/` }).items) {
        if (object.metadata.deletionTimestamp === undefined)
          await operations.delete(endpoint, object.metadata, {}, { dryRun: false }).catch(ignoreNotFound);
        if (store.latest(endpoint.collection, `${name}/${object.metadata.name}`) !== undefined) left += 1;
      }
    }
    if (left > 0) return;
    const current = store.latest('namespaces', name) as ApiObject | undefined;
    if (current !== undefined && ((at(current, 'spec', 'finalizers') as unknown[]) ?? []).length > 0)
      await operations.patch(
        namespaces,
        { name },
        { type: 'merge', body: { spec: { finalizers: null } }, force: false },
        CONTEXT,
      );
  }

  const stops = [
    store.subscribe(collectionOf(namespaceKind), look),
    ...namespaced.map((kind) =>
      store.subscribe(collectionOf(kind), () => {
        for (const name of terminating) mark(name);
      }),
    ),
  ];
  look();
  return () => {
    stopped = true;
    for (const stop of stops) stop();
  };
}

function ignoreNotFound(error: unknown): void {
  if (!isApiError(error, 'NotFound')) throw error;
}
