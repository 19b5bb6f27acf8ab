import { isApiError } from '../../../kubernetes/index.ts';
import { collectionOf } from '../kinds/kind.ts';
import { text } from '../object.ts';
import type { LifecycleDependencies } from './garbage-collector.ts';

const SWEEP_INTERVAL_MS = 60_000;

/** Removes objects whose kind gives them a limited life (Events) once it is over. Returns how to stop it. */
export function startExpiry(
  { store, operations, kinds, report }: LifecycleDependencies,
  clock: () => number,
): () => void {
  const mortal = kinds.filter((kind) => kind.timeToLiveMs !== undefined);

  async function sweep(): Promise<void> {
    for (const kind of mortal) {
      const endpoint = operations.storedEndpoint(collectionOf(kind));
      if (endpoint === undefined) continue;
      const oldest = clock() - (kind.timeToLiveMs ?? 0);
      for (const { object } of store.list(endpoint.collection).items) {
        const last = Date.parse(text(object, 'lastTimestamp') || (object.metadata.creationTimestamp ?? ''));
        if (last < oldest)
          await operations.delete(endpoint, object.metadata, {}, { dryRun: false }).catch((error) => {
            if (!isApiError(error, 'NotFound')) report(error, `expire ${kind.kind} ${object.metadata.name}`);
          });
      }
    }
  }

  const timer = setInterval(() => void sweep(), SWEEP_INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}
