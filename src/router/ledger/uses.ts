import type { Route } from '../table/index.ts';
import { type Cause, describeCause, type UseSource } from './entry.ts';
import type { Ledger } from './ledger.ts';

/** Counts what keeps sandboxes awake. Told once in each interval of what was the first to use a sandbox then: a sample that costs requests nothing. */
export interface Uses {
  saw(route: Route, cause: Cause): void;
  /** Writes what there is to say; called now and then. */
  settle(): void;
}

/** Sources told apart for each sandbox; with more, the least takes in the new one (space-saving, Metwally et al. 2005). */
const MOST_SOURCES = 8;
const TOLD_SOURCES = 3;
const MOST_SANDBOXES = 10_000;
/** The first word comes soon, then there is one now and then. */
const FIRST_MS = 30_000;
const INTERVAL_MS = 300_000;

interface Used {
  route: Route;
  sinceMs: number;
  told: boolean;
  sources: Map<string, number>;
}

/** `isAskedFor` tells of which sandboxes anybody could wonder why they are awake; a sample stands for `sampleMs`. */
export function createUses(
  ledger: Pick<Ledger, 'record'>,
  isAskedFor: (route: Route) => boolean,
  sampleMs = 1000,
  nowMs = () => performance.now(),
): Uses {
  const bySandbox = new Map<string, Used>();

  function add(used: Used, source: string): void {
    const { sources } = used;
    const count = sources.get(source);
    if (count !== undefined || sources.size < MOST_SOURCES) {
      sources.set(source, (count ?? 0) + 1);
      return;
    }
    const [least, leastCount] = [...sources].reduce((low, entry) => (entry[1] < low[1] ? entry : low));
    sources.delete(least);
    sources.set(source, leastCount + 1);
  }

  return {
    saw: (route, cause) => {
      if (!isAskedFor(route)) return;
      const { uid } = route.sandbox;
      let used = bySandbox.get(uid);
      if (used === undefined) {
        if (bySandbox.size >= MOST_SANDBOXES) return;
        used = { route, sinceMs: nowMs(), told: false, sources: new Map() };
        bySandbox.set(uid, used);
      }
      add(used, describeCause(cause));
    },
    settle: () => {
      for (const [uid, used] of bySandbox) {
        const ageMs = nowMs() - used.sinceMs;
        if (ageMs < (used.told ? INTERVAL_MS : FIRST_MS)) continue;
        if (used.sources.size === 0) {
          bySandbox.delete(uid);
          continue;
        }
        const sources: UseSource[] = [...used.sources]
          .sort((left, right) => right[1] - left[1])
          .slice(0, TOLD_SOURCES)
          .map(([source, samples]) => ({ source, seconds: Math.round((samples * sampleMs) / 1000) }));
        const { namespace, name } = used.route.sandbox;
        ledger.record({ namespace, name, uid }, { type: 'kept_awake', sources, durationMs: Math.round(ageMs) });
        bySandbox.set(uid, { ...used, sinceMs: nowMs(), told: true, sources: new Map() });
      }
    },
  };
}
