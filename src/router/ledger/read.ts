import { EVENTS, type ResourceClient } from '../../kubernetes/index.ts';
import type { LedgerEntry } from './entry.ts';
import { type EventObject, entryOf, type LedgerSubject } from './event-object.ts';

/** Entries that are shown of a sandbox. */
export const MOST_ENTRIES = 200;
const PAGE = 500;
const MOST_PAGES = 10;

/** Field selector of the Events of one sandbox, and of no other that had its name. */
export function eventsOf({ name, uid }: Pick<LedgerSubject, 'name' | 'uid'>): string {
  return `involvedObject.kind=Sandbox,involvedObject.name=${name},involvedObject.uid=${uid}`;
}

/** The latest entries of a sandbox, the newest first: those of all routers, and what controllers say of it. @throws ApiError */
export async function readLedger(client: ResourceClient, subject: LedgerSubject): Promise<LedgerEntry[]> {
  const entries: LedgerEntry[] = [];
  let page: string | undefined;
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const list = await client.list<EventObject>(EVENTS, {
      namespace: subject.namespace,
      fieldSelector: eventsOf(subject),
      limit: PAGE,
      ...(page === undefined ? {} : { continue: page }),
    });
    entries.push(...list.items.map(entryOf));
    page = list.continue;
    if (page === undefined) break;
  }
  return entries.sort(byTime).slice(0, MOST_ENTRIES);
}

/** The newest first. */
function byTime(left: LedgerEntry, right: LedgerEntry): number {
  return right.lastAt.localeCompare(left.lastAt) || right.id.localeCompare(left.id);
}
