import type { ObjectKey } from '../../../kubernetes/index.ts';

/** Suspensions that wait a moment before they begin: whoever has requests under way may yet call them off. */
export interface Drains {
  /** What is left of the moment for this suspension, in milliseconds; it begins with the first question. */
  remainingMs(key: ObjectKey, generation: number): number;
  /** It is not suspended, or not there any more. */
  forget(key: ObjectKey): void;
}

/** Drains of this length by the monotonic clock. After a restart they begin anew. */
export function createDrains(drainMs: number, nowMs = () => performance.now()): Drains {
  const begun = new Map<string, { generation: number; atMs: number }>();
  const nameOf = ({ namespace, name }: ObjectKey) => `${namespace ?? ''}/${name}`;
  return {
    remainingMs: (key, generation) => {
      const known = begun.get(nameOf(key));
      if (known?.generation === generation) return Math.max(0, known.atMs + drainMs - nowMs());
      begun.set(nameOf(key), { generation, atMs: nowMs() });
      return drainMs;
    },
    forget: (key) => void begun.delete(nameOf(key)),
  };
}
