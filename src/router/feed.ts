import { createReflector, PODS, type Reflector, type ResourceClient, SANDBOXES } from '../kubernetes/index.ts';
import { projectPod, projectSandbox, type RoutingTable } from './table/index.ts';

/** The reflectors that keep a table in step with an API server. */
export interface TableFeed {
  synced: Promise<void>;
  isSynced(): boolean;
  /** Milliseconds since the API server was last heard of by the most silent reflector. */
  ageMs(): number;
  /** Objects and changes taken in so far. */
  eventCount(): number;
  close(): void;
}

/** Follows Sandboxes and the Pods of Sandboxes, in some namespaces or all. While the server is away the table keeps what it knows. */
export function startTableFeed(
  client: ResourceClient,
  table: RoutingTable,
  namespaces: readonly string[],
  failed: (error: unknown) => void,
): TableFeed {
  const scopes = namespaces.length === 0 ? [undefined] : namespaces;
  let events = 0;
  const reflectors: Reflector[] = scopes.flatMap((namespace) => {
    const scope = { client, failed, ...(namespace === undefined ? {} : { namespace }) };
    return [
      createReflector({
        ...scope,
        type: SANDBOXES,
        listing: () => table.beginReplace('sandboxes', namespace),
        listed: () => table.endReplace('sandboxes', namespace),
        upserted: (object) => {
          events++;
          table.upsertSandbox(projectSandbox(object));
        },
        deleted: ({ metadata }) => {
          events++;
          table.deleteSandbox(metadata.namespace ?? '', metadata.name, metadata.uid ?? '');
        },
      }),
      createReflector({
        ...scope,
        type: PODS,
        labelSelector: 'agents.x-k8s.io/sandbox-name-hash',
        listing: () => table.beginReplace('pods', namespace),
        listed: () => table.endReplace('pods', namespace),
        upserted: (object) => {
          events++;
          const record = projectPod(object);
          if (record !== undefined) table.upsertPod(record);
        },
        deleted: ({ metadata }) => {
          events++;
          table.deletePod(metadata.uid ?? '');
        },
      }),
    ];
  });
  return {
    synced: Promise.all(reflectors.map(({ synced }) => synced)).then(() => {}),
    isSynced: () => reflectors.every((reflector) => reflector.isSynced()),
    ageMs: () => performance.now() - Math.min(...reflectors.map((reflector) => reflector.lastContactMs())),
    eventCount: () => events,
    close: () => {
      for (const reflector of reflectors) reflector.close();
    },
  };
}
