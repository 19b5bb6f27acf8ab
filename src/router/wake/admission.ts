/** Who wants a wake. */
export interface WakeClaim {
  tenant: string;
  /** Its share where tenants compete; 1 is usual. */
  weight: number;
  /** Wakes of this tenant at once. */
  most: number;
}

/** A place in the queue, or one of the wakes under way. */
export interface Ticket {
  /** Resolves when the wake may begin; never once it was left. */
  admitted: Promise<void>;
  isAdmitted(): boolean;
  /** Wakes that will begin before this one; 0 for the next, and for one that has begun. */
  position(): number;
  /** Gives the place back. Idempotent. */
  leave(): void;
}

/** One queue for all wakes of this process: weighted fair between tenants, first come first served within one. */
export interface WakeQueue {
  enter(claim: WakeClaim): Ticket;
  /** Wakes that wait, and that are under way. */
  waiting(): number;
  underWay(): number;
  readonly concurrent: number;
}

interface Line {
  waiting: { admit(): void }[];
  weight: number;
  most: number;
  underWay: number;
  /** Virtual time at which the first of the line starts: what its tenant has had, in units of its weight. */
  startsAt: number;
}

/** Start-time fair queuing (Goyal, Vin and Cheng, 1996), each wake having the same length. */
export function createWakeQueue(concurrent: number): WakeQueue {
  const lines = new Map<string, Line>();
  let virtualTime = 0;
  let underWay = 0;
  let waiting = 0;

  function next(): Line | undefined {
    let best: Line | undefined;
    for (const line of lines.values()) {
      if (line.waiting.length === 0 || line.underWay >= line.most) continue;
      if (best === undefined || finishOf(line) < finishOf(best)) best = line;
    }
    return best;
  }

  function pump(): void {
    while (underWay < concurrent) {
      const line = next();
      if (line === undefined) return;
      const first = line.waiting.shift();
      virtualTime = Math.max(virtualTime, line.startsAt);
      line.startsAt = finishOf(line);
      line.underWay++;
      waiting--;
      underWay++;
      first?.admit();
    }
  }

  /** A tenant that has nothing here any more, and whose turn would be now, needs no memory. */
  function forget(): void {
    for (const [tenant, line] of lines)
      if (
        line.underWay === 0 &&
        line.waiting.length === 0 &&
        (line.startsAt <= virtualTime || underWay + waiting === 0)
      )
        lines.delete(tenant);
  }

  return {
    concurrent,
    waiting: () => waiting,
    underWay: () => underWay,
    enter: ({ tenant, weight, most }) => {
      const line = lines.get(tenant) ?? { waiting: [], weight, most, underWay: 0, startsAt: virtualTime };
      lines.set(tenant, line);
      // Weights and bounds are those of the configuration as it is now.
      line.weight = weight;
      line.most = most;
      // Who was away has saved up nothing.
      if (line.waiting.length === 0) line.startsAt = Math.max(line.startsAt, virtualTime);
      const { promise, resolve } = Promise.withResolvers<void>();
      let state: 'waiting' | 'admitted' | 'left' = 'waiting';
      const entry = {
        admit: () => {
          state = 'admitted';
          resolve();
        },
      };
      line.waiting.push(entry);
      waiting++;
      pump();
      return {
        admitted: promise,
        isAdmitted: () => state === 'admitted',
        position: () => (state === 'waiting' ? positionIn(lines.values(), line, line.waiting.indexOf(entry)) : 0),
        leave: () => {
          if (state === 'waiting') {
            line.waiting.splice(line.waiting.indexOf(entry), 1);
            waiting--;
          } else if (state === 'admitted') {
            line.underWay--;
            underWay--;
          }
          state = 'left';
          pump();
          forget();
        },
      };
    },
  };
}

function finishOf(line: Line): number {
  return line.startsAt + 1 / line.weight;
}

/** How many begin before the one at `index` of its own line, by the virtual times at which each would end. */
function positionIn(lines: Iterable<Line>, own: Line, index: number): number {
  const endsAt = own.startsAt + (index + 1) / own.weight;
  let before = index;
  for (const line of lines) {
    if (line === own) continue;
    before += Math.min(line.waiting.length, Math.max(0, Math.floor((endsAt - line.startsAt) * line.weight + 1e-9)));
  }
  return before;
}
