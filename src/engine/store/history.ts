import type { KubernetesObject } from '../../kubernetes/index.ts';
import { StoreError } from './errors.ts';

/** A committed write: what the object was before it and is after it (the last state, at the deletion's revision, for DELETED). */
export interface Change {
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  revision: number;
  key: string;
  object: KubernetesObject;
  previous?: KubernetesObject;
}

/** The last changes of one collection, oldest first, bounded. */
export interface History {
  append(change: Change): void;
  /** Changes after a revision, oldest first. @throws StoreError `expired` when some of them were dropped */
  after(revision: number): Change[];
  /** What each key that changed since held at that revision (undefined: it was not there). @throws StoreError `expired` */
  stateAt(revision: number): Map<string, KubernetesObject | undefined>;
}

/** A history that knows nothing before `startRevision` and keeps at most `limit` changes. */
export function createHistory(startRevision: number, limit: number): History {
  let changes: Change[] = [];
  let dropped = startRevision;

  function after(revision: number): Change[] {
    if (revision < dropped) throw new StoreError('expired', `too old resource version: ${revision} (${dropped})`);
    return changes.slice(firstAfter(changes, revision));
  }

  return {
    append(change) {
      changes.push(change);
      // Trimming a quarter at a time keeps appends O(1) on average.
      if (changes.length <= limit * 1.25) return;
      const excess = changes.length - limit;
      dropped = changes[excess - 1]?.revision ?? dropped;
      changes = changes.slice(excess);
    },
    after,
    stateAt(revision) {
      const state = new Map<string, KubernetesObject | undefined>();
      for (const change of after(revision)) if (!state.has(change.key)) state.set(change.key, change.previous);
      return state;
    },
  };
}

/** Index of the first change with a larger revision. */
function firstAfter(changes: Change[], revision: number): number {
  let low = 0;
  let high = changes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((changes[middle]?.revision ?? 0) <= revision) low = middle + 1;
    else high = middle;
  }
  return low;
}
