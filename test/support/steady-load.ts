import { setTimeout as delay } from 'node:timers/promises';

/** What became of a load. */
export interface LoadOutcome {
  statuses: number[];
  count: number;
  /** Of a hundred answers one took longer. */
  slowestMs: number;
}

/** Asks again and again on some lanes until stopped; failures count as status 0. */
export function steadyLoad(ask: () => Promise<{ status: number }>, lanes = 2): { stop(): Promise<LoadOutcome> } {
  const statuses = new Set<number>();
  const durationsMs: number[] = [];
  let going = true;
  const running = Array.from({ length: lanes }, async () => {
    while (going) {
      const beganMs = performance.now();
      statuses.add(
        await ask().then(
          ({ status }) => status,
          () => 0,
        ),
      );
      durationsMs.push(performance.now() - beganMs);
      await delay(5);
    }
  });
  return {
    stop: async () => {
      going = false;
      await Promise.all(running);
      const sorted = durationsMs.toSorted((left, right) => left - right);
      return {
        statuses: [...statuses],
        count: sorted.length,
        slowestMs: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
      };
    },
  };
}
