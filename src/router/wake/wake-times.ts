import { LRUCache } from 'lru-cache';

/** Durations of the latest wakes, of each template and of all: what `Retry-After` and admission are computed from. */
export interface WakeTimes {
  /** `group` is what such wakes have in common: their template. */
  add(group: string, durationMs: number): void;
  /** Half of the latest wakes took no longer; undefined until there were some. */
  expectedMs(group: string): number | undefined;
  /** Nine in ten of the latest wakes took no longer; 2 s until there were any. Of all groups without one. */
  typicalSeconds(group?: string): number;
}

const REMEMBERED = 128;
const MOST_GROUPS = 1024;
/** Fewer say nothing of a group. */
const ENOUGH = 5;
const UNKNOWN_MS = 2000;

/** Keeps the latest durations. */
export function createWakeTimes(): WakeTimes {
  const all: number[] = [];
  const groups = new LRUCache<string, number[]>({ max: MOST_GROUPS });

  function latestOf(group: string | undefined): number[] {
    const own = group === undefined ? undefined : groups.get(group);
    return own !== undefined && own.length >= ENOUGH ? own : all;
  }

  return {
    add: (group, durationMs) => {
      let own = groups.get(group);
      if (own === undefined) {
        own = [];
        groups.set(group, own);
      }
      for (const latest of [own, all]) {
        latest.push(durationMs);
        if (latest.length > REMEMBERED) latest.shift();
      }
    },
    expectedMs: (group) => {
      const latest = latestOf(group);
      return latest.length < ENOUGH ? undefined : quantile(latest, 0.5);
    },
    typicalSeconds: (group) => {
      const latest = latestOf(group);
      return (latest.length === 0 ? UNKNOWN_MS : quantile(latest, 0.9)) / 1000;
    },
  };
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length * share)] ?? UNKNOWN_MS;
}
