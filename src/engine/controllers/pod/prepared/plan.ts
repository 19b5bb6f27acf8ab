import { LEAST_SCORE, type Likelihood, scoreAt } from './likelihood.ts';

/** A sandbox that is paused. */
export interface Sleeper extends Likelihood {
  /** What a container must be like for it: see `shapeOf`. */
  shape: string;
}

/** A container that waits. */
export interface Waiting {
  id: string;
  shape: string;
}

/** What there is, and what there may be. */
export interface Situation<Asleep extends Sleeper> {
  sleepers: readonly Asleep[];
  waiting: readonly Waiting[];
  /** Most containers that may wait. */
  most: number;
  /** Whether there is memory for another one. */
  mayGrow: boolean;
  nowMs: number;
}

/** The next thing to do. */
export type Step<Asleep> = { prepare: Asleep } | { remove: string };

/**
 * One step towards containers for those sandboxes that are most likely to be called; undefined when they are all there. What nobody most likely needs goes before
 * anything new comes.
 */
export function nextStep<Asleep extends Sleeper>(situation: Situation<Asleep>): Step<Asleep> | undefined {
  const { sleepers, waiting, most, mayGrow, nowMs } = situation;
  const likely = sleepers
    .filter((sleeper) => scoreAt(sleeper, nowMs) >= LEAST_SCORE)
    .toSorted((left, right) => scoreAt(right, nowMs) - scoreAt(left, nowMs))
    .slice(0, most);
  const unused = [...waiting];
  const missing: Asleep[] = [];
  for (const sleeper of likely) {
    const position = unused.findIndex(({ shape }) => shape === sleeper.shape);
    if (position === -1) missing.push(sleeper);
    else unused.splice(position, 1);
  }
  const [superfluous] = unused;
  if (superfluous !== undefined) return { remove: superfluous.id };
  const [wanted] = missing;
  return wanted === undefined || !mayGrow ? undefined : { prepare: wanted };
}
