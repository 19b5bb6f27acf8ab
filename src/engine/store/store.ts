import { mkdirSync } from 'node:fs';
import { open } from 'lmdb';
import type { KubernetesObject } from '../../kubernetes/index.ts';
import { type Collection, createCollection } from './collection.ts';
import { StoreError } from './errors.ts';
import type { Change } from './history.ts';

/** Where the store lives and how much history it keeps per collection. */
export interface StoreOptions {
  directory: string;
  /** Changes kept per collection for watches and paged lists; 4096 by default. */
  historyLimit?: number;
}

/** A page of a list, as the collection was at `revision`. */
export interface StorePage {
  items: { key: string; object: KubernetesObject }[];
  revision: number;
  /** Keys after the page. */
  remaining: number;
}

/** Which part of a collection to list: keys with this prefix after that key, at an earlier revision if given. */
export interface StoreListOptions {
  prefix?: string;
  after?: string;
  limit?: number;
  revision?: number;
}

/**
 * Durable objects. Reads see only what is committed; {@link Store.latest} also sees writes on their way, and is what a new write must be
 * computed from (in the same tick). Objects are frozen and shared: never change one.
 */
export interface Store {
  /** Revision of the last committed write. */
  readonly revision: number;
  get(collection: string, key: string): KubernetesObject | undefined;
  latest(collection: string, key: string): KubernetesObject | undefined;
  /** @throws StoreError `expired` for a revision older than the history */
  list(collection: string, options?: StoreListOptions): StorePage;
  /**
   * Writes the object (undefined: removes it), stamping `metadata.resourceVersion`. Resolves with the stored (for a removal: the last) object
   * once it survives the death of process and machine. @throws StoreError `conflict` unless the latest object is exactly `expected`, `too_large` over 1.5 MiB
   */
  write(
    collection: string,
    key: string,
    next: KubernetesObject | undefined,
    expected: KubernetesObject | undefined,
  ): Promise<KubernetesObject>;
  /**
   * The same, with the object at once: what is written later is never there without it, so who goes on to write need not wait for the disk.
   * @throws StoreError `conflict`
   */
  enqueue(
    collection: string,
    key: string,
    next: KubernetesObject | undefined,
    expected: KubernetesObject | undefined,
  ): { object: KubernetesObject; committed: Promise<KubernetesObject> };
  /** Committed changes after a revision. @throws StoreError `expired` */
  changes(collection: string, revision: number): Change[];
  /** Calls the listener after each commit in the collection; returns how to stop. */
  subscribe(collection: string, listener: () => void): () => void;
  close(): Promise<void>;
}

interface Pending {
  collection: string;
  change: Change;
  settle: (error?: Error) => void;
  outcome?: { error?: Error };
}

/** Versions are reserved this many at a time, so that none is ever given twice, whatever was lost in a crash. */
const REVISION_BLOCK = 1000;
const REVISION_KEY = 'revision';
/** As etcd's default. */
const LARGEST_OBJECT_BYTES = 1.5 * 1024 * 1024;

/** Opens or creates the store and reads everything in it. */
export function openStore(options: StoreOptions): Store {
  const historyLimit = options.historyLimit ?? 4096;
  mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  const environment = open({ path: options.directory, maxDbs: 4, encoding: 'string', cache: false });
  const records = environment.openDB<string, string>({ name: 'objects', encoding: 'string' });
  const counters = environment.openDB<string, string>({ name: 'counters', encoding: 'string' });

  const start = Number(counters.get(REVISION_KEY) ?? '0');
  const collections = new Map<string, Collection>();
  const overlay = new Map<string, { object: KubernetesObject | undefined; writes: number }>();
  const queue: Pending[] = [];
  let assigned = start;
  let committed = start;
  let reserved = start;
  let closed = false;

  function collection(name: string): Collection {
    let found = collections.get(name);
    if (found === undefined) {
      found = createCollection(start, historyLimit);
      collections.set(name, found);
    }
    return found;
  }

  function load(): void {
    for (const { key, value } of records.getRange({})) {
      const [name = '', objectKey = ''] = split(key);
      const object = freeze(JSON.parse(value)) as KubernetesObject;
      collection(name).load(objectKey, object);
    }
  }

  function latest(name: string, key: string): KubernetesObject | undefined {
    const underway = overlay.get(join(name, key));
    return underway === undefined ? collection(name).get(key) : underway.object;
  }

  /** The next revision; `ready` is there when a write that uses it must also wait for a new block to be reserved. */
  function nextRevision(): { revision: number; ready?: Promise<unknown> } {
    assigned += 1;
    if (assigned < reserved) return { revision: assigned };
    reserved = assigned + REVISION_BLOCK;
    const ready = counters.put(REVISION_KEY, String(reserved));
    ready.catch(() => {
      reserved = 0;
    });
    return { revision: assigned, ready };
  }

  /** Publishes finished writes in the order of their revisions. */
  function publish(): void {
    while (queue[0]?.outcome !== undefined) {
      const { collection: name, change, settle, outcome } = queue.shift() as Pending;
      const underway = overlay.get(join(name, change.key));
      if (underway !== undefined && --underway.writes === 0) overlay.delete(join(name, change.key));
      if (outcome?.error === undefined) {
        committed = change.revision;
        collection(name).apply(change);
      }
      settle(outcome?.error);
    }
  }

  function enqueue(
    name: string,
    key: string,
    next: KubernetesObject | undefined,
    expected: KubernetesObject | undefined,
  ): { object: KubernetesObject; committed: Promise<KubernetesObject> } {
    if (closed) throw new StoreError('closed', 'the store is closed');
    const previous = latest(name, key);
    if (previous !== expected) throw new StoreError('conflict', `${name} ${key} has changed`);
    if (next === undefined && previous === undefined) throw new StoreError('conflict', `${name} ${key} does not exist`);
    const base = (next ?? previous) as KubernetesObject;
    const object = freeze({ ...base, metadata: { ...base.metadata, resourceVersion: String(assigned + 1) } });
    const text = next === undefined ? '' : textOf(object, key);
    const { revision, ready } = nextRevision();
    const type = next === undefined ? 'DELETED' : previous === undefined ? 'ADDED' : 'MODIFIED';
    const change: Change = { type, revision, key, object, ...(previous === undefined ? {} : { previous }) };

    const recordKey = join(name, key);
    const underway = overlay.get(recordKey);
    const stored = next === undefined ? undefined : object;
    if (underway === undefined) overlay.set(recordKey, { object: stored, writes: 1 });
    else Object.assign(underway, { object: stored, writes: underway.writes + 1 });

    const done = Promise.withResolvers<KubernetesObject>();
    const pending: Pending = {
      collection: name,
      change,
      settle: (error) => (error === undefined ? done.resolve(object) : done.reject(error)),
    };
    queue.push(pending);
    const commit = next === undefined ? records.remove(recordKey) : records.put(recordKey, text);
    (ready === undefined ? commit : Promise.all([ready, commit])).then(
      () => {
        pending.outcome = {};
        publish();
      },
      (cause) => {
        pending.outcome = {
          error: new StoreError('write_failed', `could not write ${name} ${key}: ${cause}`, { cause }),
        };
        publish();
      },
    );
    return { object, committed: done.promise };
  }

  function list(name: string, { prefix = '', after, limit, revision = committed }: StoreListOptions = {}): StorePage {
    const source = collection(name);
    let keys = source.keys(prefix, after);
    let read = (key: string) => source.get(key);
    if (revision < committed) {
      const past = source.history.stateAt(revision);
      keys = withPast(keys, past, prefix, after);
      read = (key) => (past.has(key) ? past.get(key) : source.get(key));
    }
    const page = limit === undefined ? keys : keys.slice(0, limit);
    const items = page.map((key) => ({ key, object: read(key) as KubernetesObject }));
    return { items, revision, remaining: keys.length - page.length };
  }

  load();
  return {
    get revision() {
      return committed;
    },
    get: (name, key) => collection(name).get(key),
    latest,
    list,
    write: (...change) => enqueue(...change).committed,
    enqueue,
    changes: (name, revision) => collection(name).history.after(revision),
    subscribe: (name, listener) => collection(name).subscribe(listener),
    async close() {
      closed = true;
      await environment.flushed;
      await environment.close();
    },
  };
}

/** What is written of an object. @throws StoreError `too_large` */
function textOf(object: KubernetesObject, key: string): string {
  const text = JSON.stringify(object);
  // No character takes more than three bytes.
  const sizeBytes = text.length * 3 <= LARGEST_OBJECT_BYTES ? 0 : Buffer.byteLength(text);
  if (sizeBytes <= LARGEST_OBJECT_BYTES) return text;
  const limits = `would take ${sizeBytes} bytes; the limit is ${LARGEST_OBJECT_BYTES}`;
  throw new StoreError('too_large', `${object.kind} ${JSON.stringify(key)} ${limits}`);
}

/** Keys of now, less those that did not exist then, plus those that did. */
function withPast(keys: string[], past: Map<string, unknown>, prefix: string, after = ''): string[] {
  const then = keys.filter((key) => !past.has(key));
  for (const [key, object] of past) if (object !== undefined && key.startsWith(prefix) && key > after) then.push(key);
  return then.sort((left, right) => (left < right ? -1 : 1));
}

/** Printable, and in no name: the database's encoding of keys gives control characters in keys of 64 bytes and more back as something else. */
const SEPARATOR = ' ';
const join = (name: string, key: string) => `${name}${SEPARATOR}${key}`;
const split = (recordKey: string) => recordKey.split(SEPARATOR);

/** Freezes what is not frozen yet; parts taken from stored objects are, so only new parts cost. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const part of Object.values(value)) freeze(part);
  return value;
}
