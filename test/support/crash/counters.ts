import assert from 'node:assert/strict';

/** What a counter answers. */
export interface CounterAnswer {
  n: number;
  /** Which start of which counter answered. */
  instance: string;
}

/** What counters in sandboxes answered: a number, once seen, must never be lost. */
export interface CounterBook {
  /** Asks a counter for its next number and holds it against what it said before. @throws AssertionError when it went back, or another one answers */
  step(sandbox: string, ask: () => Promise<CounterAnswer>): Promise<void>;
  /** Numbers seen so far. */
  readonly count: number;
}

/** A book without entries. */
export function createCounterBook(): CounterBook {
  const seen = new Map<string, { number: number; instance?: string; unanswered: number }>();
  let count = 0;
  return {
    get count() {
      return count;
    },
    async step(sandbox, ask) {
      const entry = seen.get(sandbox) ?? { number: 0, unanswered: 0 };
      seen.set(sandbox, entry);
      entry.unanswered++;
      const { n: number, instance } = await ask();
      assert.equal(instance, entry.instance ?? instance, `${sandbox} is answered by another start or another sandbox`);
      // A request that was cut off may have counted, and a GET may be sent once more where a kept connection broke.
      const most = entry.number + 2 * entry.unanswered;
      assert.ok(
        number > entry.number && number <= most,
        `${sandbox} counted ${number} after ${entry.number}, with ${entry.unanswered - 1} requests unanswered`,
      );
      Object.assign(entry, { number, instance, unanswered: 0 });
      count++;
    },
  };
}
