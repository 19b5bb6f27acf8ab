import { LEAST_SCORE, type Likelihood, scoreAt } from './likelihood.ts';

/** A sandbox that is paused. */
export interface Sleeper extends Likelihood {
  /** What a container must be like for it: see `shapeOf`; absent where none may wait for it. */
  shape?: string | undefined;
}

/** A container that waits. */
export interface Waiting {
  id: string;
  shape: string;
}

/** A network that waits. */
export interface WaitingNetwork<Asleep> {
  id: string;
  sleeper: Asleep;
}

/** What there is, and what there may be. */
export interface Situation<Asleep extends Sleeper> {
  sleepers: readonly Asleep[];
  waiting: readonly Waiting[];
  networks: readonly WaitingNetwork<Asleep>[];
  /** Most containers that may wait. */
  most: number;
  /** Most networks that may wait. */
  mostNetworks: number;
  /** Whether there is memory for another one. */
  mayGrow: boolean;
  nowMs: number;
}

/** The next thing to do. */
export type Step<Asleep> =
  | { prepare: Asleep }
  | { remove: string }
  | { connect: Asleep }
  | { disconnect: WaitingNetwork<Asleep> };

/**
 * One step towards containers for those sandboxes that are most likely to be called, and networks for the next after them; undefined when they are all there.
 * What nobody most likely needs goes before anything new comes.
 */
export function nextStep<Asleep extends Sleeper>(situation: Situation<Asleep>): Step<Asleep> | undefined {
  const { sleepers, most, nowMs } = situation;
  const likely = sleepers
    .filter((sleeper) => scoreAt(sleeper, nowMs) >= LEAST_SCORE)
    .toSorted((left, right) => scoreAt(right, nowMs) - scoreAt(left, nowMs));
  const first = new Set(likely.filter(({ shape }) => shape !== undefined).slice(0, most));
  const others = likely.filter((sleeper) => !first.has(sleeper));
  return nextContainer(situation, [...first]) ?? nextNetwork(situation, others);
}

function nextContainer<Asleep extends Sleeper>(
  { waiting, mayGrow }: Situation<Asleep>,
  likely: readonly Asleep[],
): Step<Asleep> | undefined {
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

/** A network is for one sandbox alone: it has its address. */
function nextNetwork<Asleep extends Sleeper>(
  { networks, mostNetworks, mayGrow }: Situation<Asleep>,
  likely: readonly Asleep[],
): Step<Asleep> | undefined {
  const wanted = new Set(likely.slice(0, mostNetworks));
  for (const network of networks) if (!wanted.delete(network.sleeper)) return { disconnect: network };
  const [missing] = wanted;
  return missing === undefined || !mayGrow ? undefined : { connect: missing };
}
