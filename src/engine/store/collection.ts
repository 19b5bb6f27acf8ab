import type { KubernetesObject } from '../../kubernetes/index.ts';
import { type Change, createHistory, type History } from './history.ts';

/** The committed objects of one resource type, in key order, with their recent history and those who wait for changes. */
export interface Collection {
  readonly history: History;
  get(key: string): KubernetesObject | undefined;
  /** Keys in order that start with the prefix and come after `after`. */
  keys(prefix: string, after?: string): string[];
  /** Takes in an object read from disk; no change of anything. */
  load(key: string, object: KubernetesObject): void;
  apply(change: Change): void;
  subscribe(listener: () => void): () => void;
}

/** An empty collection whose history starts at that revision. */
export function createCollection(startRevision: number, historyLimit: number): Collection {
  const objects = new Map<string, KubernetesObject>();
  const sorted: string[] = [];
  const listeners = new Set<() => void>();
  const history = createHistory(startRevision, historyLimit);

  return {
    history,
    get: (key) => objects.get(key),
    keys(prefix, after = '') {
      const from = after === '' ? lowerBound(sorted, prefix) : lowerBound(sorted, `${after}\0`);
      const found: string[] = [];
      for (let index = from; index < sorted.length; index++) {
        const key = sorted[index] as string;
        if (!key.startsWith(prefix)) break;
        found.push(key);
      }
      return found;
    },
    load(key, object) {
      sorted.splice(lowerBound(sorted, key), 0, key);
      objects.set(key, object);
    },
    apply(change) {
      const index = lowerBound(sorted, change.key);
      const known = sorted[index] === change.key;
      if (change.type === 'DELETED') {
        if (known) sorted.splice(index, 1);
        objects.delete(change.key);
      } else {
        if (!known) sorted.splice(index, 0, change.key);
        objects.set(change.key, change.object);
      }
      history.append(change);
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** First position whose key is not smaller. */
export function lowerBound(sorted: string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
