/** How likely it is that a sandbox is called soon: each pause counts 1 and loses half of that every half-life. */
export interface Likelihood {
  score: number;
  atMs: number;
}

/** In this time a pause loses half of its weight. */
const HALF_LIFE_MS = 10 * 60_000;
/** Below this nothing is kept ready: half an hour after a single pause. */
export const LEAST_SCORE = 1 / 8;

/** What an earlier score is worth now. */
export function scoreAt({ score, atMs }: Likelihood, nowMs: number): number {
  return score * 2 ** ((atMs - nowMs) / HALF_LIFE_MS);
}

/** One more pause: sandboxes that are woken often gather a score, those paused just now come first among equals. */
export function pausedAgain(before: Likelihood | undefined, nowMs: number): Likelihood {
  return { score: (before === undefined ? 0 : scoreAt(before, nowMs)) + 1, atMs: nowMs };
}
