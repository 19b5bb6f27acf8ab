import assert from 'node:assert/strict';

/** What counters in sandboxes answered: a number, once seen, must never be lost. */
export interface CounterBook {
  /** Asks a counter for its next number and holds it against what it said before. Resolves with the number. @throws AssertionError when it went back */
  step(sandbox: string, ask: () => Promise<number>): Promise<number>;
  /** Numbers seen so far. */
  readonly count: number;
}

/** A book without entries. */
export function createCounterBook(): CounterBook {
  const seen = new Map<string, { number: number; unanswered: number }>();
  let count = 0;
  return {
    get count() {
      return count;
    },
    async step(sandbox, ask) {
      const entry = seen.get(sandbox) ?? { number: 0, unanswered: 0 };
      seen.set(sandbox, entry);
      entry.unanswered++;
      const number = await ask();
      // A request that was cut off may have counted, and a GET may be sent once more where a kept connection broke.
      const most = entry.number + 2 * entry.unanswered;
      assert.ok(
        number > entry.number && number <= most,
        `${sandbox} counted ${number} after ${entry.number}, with ${entry.unanswered - 1} requests unanswered`,
      );
      Object.assign(entry, { number, unanswered: 0 });
      count++;
      return number;
    },
  };
}
