/** Durations of the latest wakes: what `Retry-After` is computed from. */
export interface WakeTimes {
  add(durationMs: number): void;
  /** Nine in ten of the latest wakes took no longer; 2 s until there were any. */
  typicalSeconds(): number;
}

const REMEMBERED = 128;

/** Keeps the latest durations. */
export function createWakeTimes(): WakeTimes {
  const latest: number[] = [];
  return {
    add: (durationMs) => {
      latest.push(durationMs);
      if (latest.length > REMEMBERED) latest.shift();
    },
    typicalSeconds: () => {
      if (latest.length === 0) return 2;
      const sorted = latest.toSorted((left, right) => left - right);
      return (sorted[Math.floor(sorted.length * 0.9)] ?? 2000) / 1000;
    },
  };
}
