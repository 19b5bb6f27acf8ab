import assert from 'node:assert/strict';
import { isApiError, type KubernetesObject, type ObjectKey, type ResourceType } from '../../../src/kubernetes/index.ts';

/** What was written into an object and can be read back: an annotation, a field, that it is there at all. */
export interface Fact {
  name: string;
  /** Undefined where the object is not there. */
  read(object: KubernetesObject | undefined): string | undefined;
}

interface Entry {
  type: ResourceType;
  key: ObjectKey;
  fact: Fact;
  /** What the API last said that it holds, and at which version. */
  acknowledged: string | undefined;
  revision: number;
  /** Whether that was ever said: an object is not there before, anything else may be anything. */
  known: boolean;
  /** What was asked for and not answered: it may be so or not. */
  unanswered: Set<string | undefined>;
}

/** Every write that the API acknowledged, and those of which nobody knows what became. */
export interface Ledger {
  /** Writes, and keeps what came of it. `wanted` is what the fact reads once it is written. */
  write<T extends KubernetesObject | undefined>(
    what: { type: ResourceType; key: ObjectKey; fact: Fact; wanted: string | undefined },
    act: () => Promise<T>,
  ): Promise<T>;
  /** Something else than a write (a request that wakes, if it is not too early for that) may bring the fact to that. */
  maybe(what: { type: ResourceType; key: ObjectKey; fact: Fact; wanted: string | undefined }): void;
  /** The object may go by itself from now on: its owner is being deleted. */
  mayVanish(type: ResourceType, key: ObjectKey): void;
  /** Compares all with what an engine that was killed and started again says. @throws AssertionError for a lost write */
  verify(find: (type: ResourceType, key: ObjectKey) => Promise<KubernetesObject | undefined>): Promise<void>;
  /** Acknowledged writes so far. */
  readonly count: number;
}

/** Whether the object is there. */
export const PRESENCE: Fact = { name: 'presence', read: (object) => (object === undefined ? undefined : 'there') };

/** An empty ledger. */
export function createLedger(): Ledger {
  const entries = new Map<string, Entry>();
  let count = 0;

  function entryOf({ type, key, fact }: { type: ResourceType; key: ObjectKey; fact: Fact }): Entry {
    const id = `${type.plural}/${key.namespace}/${key.name} ${fact.name}`;
    let entry = entries.get(id);
    if (entry === undefined) {
      entry = {
        type,
        key,
        fact,
        acknowledged: undefined,
        known: fact === PRESENCE,
        revision: 0,
        unanswered: new Set(),
      };
      entries.set(id, entry);
    }
    return entry;
  }

  function mayVanish(type: ResourceType, key: ObjectKey): void {
    for (const entry of entries.values())
      if (entry.type === type && entry.key.namespace === key.namespace && entry.key.name === key.name)
        entry.unanswered.add(undefined);
  }

  return {
    get count() {
      return count;
    },
    async write(what, act) {
      const entry = entryOf(what);
      if (what.fact === PRESENCE && what.wanted === undefined) mayVanish(what.type, what.key);
      entry.unanswered.add(what.wanted);
      try {
        const written = await act();
        entry.unanswered.clear();
        entry.acknowledged = what.wanted;
        entry.known = true;
        entry.revision = Number(written?.metadata.resourceVersion ?? entry.revision);
        count++;
        return written;
      } catch (error) {
        if (isApiError(error) && !isApiError(error, 'Unreachable')) entry.unanswered.delete(what.wanted);
        throw error;
      }
    },
    maybe: (what) => void entryOf(what).unanswered.add(what.wanted),
    mayVanish,
    async verify(find) {
      for (const [id, entry] of entries) {
        const object = await find(entry.type, entry.key);
        const found = entry.fact.read(object);
        const possible = [entry.acknowledged, ...entry.unanswered];
        const revision = Number(object?.metadata.resourceVersion ?? entry.revision);
        assert.ok(
          !entry.known || possible.includes(found),
          `${id} is ${found} at version ${revision}, and can only be ${possible.join(' or ')}, acknowledged at ${entry.revision}`,
        );
        assert.ok(revision >= entry.revision, `${id} is at version ${revision}, was acknowledged at ${entry.revision}`);
        if (found === undefined) entries.delete(id);
        else Object.assign(entry, { acknowledged: found, known: true, unanswered: new Set() });
      }
    },
  };
}
