/** What became of each sandbox and why: written as Events into the API, so that it outlives routers and all of them agree. */
export {
  type Cause,
  describeCause,
  describeFact,
  describeMs,
  LEDGER_TYPES,
  type LedgerEntry,
  type LedgerFact,
  pathOf,
  plain,
} from './entry.ts';
export { type EventObject, entryOf, type LedgerSubject } from './event-object.ts';
export { createLedger, type Ledger } from './ledger.ts';
export { eventsOf, MOST_ENTRIES, readLedger } from './read.ts';
export { createTransitions, type Transitions } from './transitions.ts';
export { createUses, type Uses } from './uses.ts';
