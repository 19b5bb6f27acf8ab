import type { Route, RoutingTable } from '../table/index.ts';
import type { Cause, LedgerFact } from './entry.ts';
import type { Ledger } from './ledger.ts';

/** Writes who or what changed the state of a sandbox, and once the table shows it, how long that took. */
export interface Transitions {
  /** A pause was asked for, and the API has taken it. */
  paused(route: Route, cause: Cause, detail?: string): void;
  /** A start was asked for, and the API has taken it. */
  resumed(route: Route, cause: Cause): void;
  close(): void;
}

/** What is waited for. */
interface Underway {
  wanted: 'paused' | 'running';
  startedAtMs: number;
  amend(more: Partial<LedgerFact>): void;
}

/** Longest that the end of a transition is looked for. */
const LONGEST_MS = 180_000;
const MOST = 10_000;

/** Follows the table for what is under way; while nothing is, a change of it costs one look into an empty map. */
export function createTransitions(
  table: Pick<RoutingTable, 'onChange' | 'isRoutable'>,
  ledger: Pick<Ledger, 'record'>,
  nowMs = () => performance.now(),
): Transitions {
  const underway = new Map<string, Underway>();

  function begin(route: Route, wanted: Underway['wanted'], fact: LedgerFact): void {
    const { namespace, name, uid } = route.sandbox;
    const amend = ledger.record({ namespace, name, uid }, fact);
    const startedAtMs = nowMs();
    for (const [key, { startedAtMs: began }] of underway) {
      if (underway.size < MOST && startedAtMs - began < LONGEST_MS) break;
      underway.delete(key);
    }
    underway.delete(uid);
    underway.set(uid, { wanted, startedAtMs, amend });
  }

  const stop = table.onChange((_namespace, _name, route) => {
    const entry = route === undefined ? undefined : underway.get(route.sandbox.uid);
    if (route === undefined || entry === undefined) return;
    const { sandbox } = route;
    const durationMs = Math.round(nowMs() - entry.startedAtMs);
    if (entry.wanted === 'paused' && !sandbox.running && sandbox.suspended) entry.amend({ durationMs });
    else if (entry.wanted === 'running' && table.isRoutable(route)) entry.amend({ durationMs });
    else return;
    underway.delete(sandbox.uid);
  });

  return {
    paused: (route, cause, detail) =>
      begin(route, 'paused', { type: 'paused', cause, ...(detail === undefined ? {} : { detail }) }),
    resumed: (route, cause) => begin(route, 'running', { type: 'woken', cause }),
    close: stop,
  };
}
