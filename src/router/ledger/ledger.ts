import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { EVENTS, isApiError, type ResourceClient } from '../../kubernetes/index.ts';
import { type TokenBucket, takeToken } from '../policy/index.ts';
import { type LedgerFact, type LedgerType, mergeKeyOf } from './entry.ts';
import { eventOf, eventPatchOf, type LedgerSubject, type Occurrence } from './event-object.ts';

/** Writes what became of sandboxes, as Events of theirs. */
export interface Ledger {
  /** Takes note of a fact; never waits and never fails. What it returns adds to the fact later. */
  record(subject: LedgerSubject, fact: LedgerFact): (more: Partial<LedgerFact>) => void;
  /** Facts that are not written yet. */
  pendingCount(): number;
  /** Writes what is pending, for a moment at most. */
  close(): Promise<void>;
}

/** What a ledger needs. */
export interface LedgerOptions {
  client: Pick<ResourceClient, 'create' | 'patch'>;
  /** Name of this router. */
  reporter: string;
  /** Milliseconds of the epoch, and of the monotonic clock. */
  now?: () => number;
  clockMs?: () => number;
  /** Told of every fact, whether it can be written down or not. */
  recorded?(type: LedgerType, via: string): void;
  /** Told of failures, once of each kind until a write succeeds. */
  failed(what: string, error: unknown): void;
}

/** Writes of one sandbox: 200 in the hour for which an API server keeps Events, from each router. */
const RATE = { perSecond: 1 / 20, burst: 20 };
/** Facts that come again and again are one entry for so long. */
const MERGE_MS = 600_000;
const MERGED: ReadonlySet<LedgerType> = new Set([
  'refused',
  'wake_failed',
  'pause_failed',
  'pause_cancelled',
  'kept_awake',
]);
/** Different facts of one sandbox that are told apart at a time; those beyond are counted under the oldest of their type. */
const MOST_KINDS = 16;
const MOST_SANDBOXES = 10_000;
/** Facts that may wait: with more, new ones are dropped. */
const MOST_PENDING = 5000;
const WRITES_AT_ONCE = 4;
const RETRY_MS = 1000;
const CLOSE_MS = 2000;

/** What is known of one fact, and whether its Event says so. */
interface Note extends Occurrence {
  subject: LedgerSubject;
  fact: LedgerFact;
  budget: Budget;
  eventName: string;
  /** Whether there is an Event of that name. */
  written: boolean;
  pending: boolean;
  writing: boolean;
}

/** What one sandbox may yet write, and the facts that may come again. */
interface Budget {
  bucket: TokenBucket;
  notes: Map<string, Note>;
}

/** A ledger of which nothing is written yet. Everything in it is bounded, so that nobody can flood an API server through it. */
export function createLedger({
  client,
  reporter,
  recorded,
  failed,
  now = Date.now,
  clockMs = () => performance.now(),
}: LedgerOptions): Ledger {
  const budgets = new LRUCache<string, Budget>({ max: MOST_SANDBOXES });
  const pending = new Set<Note>();
  let underWay = 0;
  let timer: NodeJS.Timeout | undefined;
  /** What is known last is written whatever the rate: nobody else will. */
  let closing = false;
  const told = new Set<string>();

  function budgetOf(uid: string): Budget {
    let budget = budgets.get(uid);
    if (budget === undefined) {
      budget = { bucket: { fullAtMs: 0 }, notes: new Map() };
      budgets.set(uid, budget);
    }
    return budget;
  }

  /** The note that a fact belongs to: the same that is not written yet or comes often, else the oldest of its type where there are too many. */
  function noteFor(budget: Budget, fact: LedgerFact, nowMs: number): Note | undefined {
    const known = budget.notes.get(mergeKeyOf(fact));
    if (known?.pending || (known !== undefined && MERGED.has(fact.type) && nowMs - known.firstMs < MERGE_MS))
      return known;
    for (const [key, note] of budget.notes) {
      if (budget.notes.size < MOST_KINDS) break;
      if (!note.pending) budget.notes.delete(key);
    }
    if (budget.notes.size < MOST_KINDS) return undefined;
    return [...budget.notes.values()].find(({ fact: { type } }) => type === fact.type);
  }

  function demand(note: Note): void {
    if (note.pending) return;
    if (pending.size >= MOST_PENDING) {
      failedOnce('the ledger', new Error('more happens to sandboxes than can be written down'));
      return;
    }
    note.pending = true;
    pending.add(note);
    pump();
  }

  function pump(): void {
    for (const note of pending) {
      if (underWay >= WRITES_AT_ONCE) return;
      if (note.writing || (!closing && takeToken(note.budget.bucket, RATE, clockMs()) > 0)) continue;
      pending.delete(note);
      note.pending = false;
      note.writing = true;
      underWay++;
      write(note)
        .then(
          () => {
            told.clear();
            return false;
          },
          (error) => {
            const passing = isApiError(error, 'Unreachable') || isApiError(error, 'ServiceUnavailable');
            if (!passing) failedOnce('writing the ledger', error);
            return passing;
          },
        )
        .then((again) => {
          underWay--;
          note.writing = false;
          if (again && !note.pending && pending.size < MOST_PENDING) {
            note.pending = true;
            pending.add(note);
          }
          if (again) pumpLater();
          else pump();
        });
    }
    if (pending.size > 0) pumpLater();
  }

  function pumpLater(): void {
    timer ??= setTimeout(() => {
      timer = undefined;
      pump();
    }, RETRY_MS).unref();
  }

  /** A write whose answer did not come may have been done: the name of its Event stays the same. */
  async function write(note: Note): Promise<void> {
    const { subject, fact, eventName } = note;
    const occurrence = { firstMs: note.firstMs, lastMs: note.lastMs, count: note.count };
    const patch = () =>
      client.patch(EVENTS, { namespace: subject.namespace, name: eventName }, eventPatchOf(fact, occurrence), {
        type: 'merge',
      });
    const create = () => client.create(EVENTS, eventOf(subject, eventName, reporter, fact, occurrence));
    const [first, second, other] = note.written
      ? ([patch, create, 'NotFound'] as const)
      : ([create, patch, 'AlreadyExists'] as const);
    await first().catch((error) => {
      // It has expired, or was written after all.
      if (!isApiError(error, other)) throw error;
      return second();
    });
    note.written = true;
  }

  function failedOnce(what: string, error: unknown): void {
    const kind = isApiError(error) ? error.code : (error as Error).message;
    if (told.has(kind)) return;
    told.add(kind);
    failed(what, error);
  }

  return {
    record: (subject, fact) => {
      recorded?.(fact.type, fact.cause?.via ?? '');
      const budget = budgetOf(subject.uid);
      const nowMs = now();
      let note = noteFor(budget, fact, nowMs);
      if (note === undefined) {
        const eventName = `${subject.name}.${randomBytes(8).toString('hex')}`;
        const fresh = { subject, fact, budget, eventName, firstMs: nowMs, lastMs: nowMs, count: 1 };
        note = { ...fresh, written: false, pending: false, writing: false };
        budget.notes.set(mergeKeyOf(fact), note);
      } else {
        note.count++;
        note.lastMs = nowMs;
        note.fact = fact;
      }
      demand(note);
      const noted = note;
      return (more) => {
        noted.fact = { ...noted.fact, ...more };
        demand(noted);
      };
    },
    pendingCount: () => pending.size + underWay,
    close: async () => {
      const endMs = clockMs() + CLOSE_MS;
      closing = true;
      pump();
      while (pending.size + underWay > 0 && clockMs() < endMs) await delay(10);
      clearTimeout(timer);
    },
  };
}
