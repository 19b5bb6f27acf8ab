import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { addToIndex, compactIndex, isLarge, type LogIndex, readIndex } from './log-index.ts';

/** Where logs are kept and how much of them. */
export interface LogStoreOptions {
  directory: string;
  /** Bytes of a container's output that are kept at least; up to twice as many for a while. */
  keepBytes: number;
  failed(what: string, error: unknown): void;
}

/** The logs of this machine's containers. The containers write the files themselves, so that nothing is lost while no engine is there. */
export interface LogStore {
  /** File that a container appends to. */
  pathOf(podUid: string): string;
  /**
   * The container is about to write: a `start` begins the present log, and what came before is the previous one; a `restore` goes on with what there is.
   */
  opening(podUid: string, how: 'start' | 'restore'): void;
  /** What is known now; undefined where there is no log. */
  look(podUid: string): LogIndex | undefined;
  remove(podUid: string): void;
  /** Of what anything is kept: UIDs of Pods, with a name behind a dot for one container of several. */
  keys(): string[];
  close(): void;
}

const LOOK_INTERVAL_MS = 500;
/** Holes are made of whole blocks. */
const BLOCK_BYTES = 4096;
const SUFFIX = '.log';

/**
 * Logs in a directory. Twice a second it is looked which have grown: that tells when lines were written, to half a second for lines that others follow at once.
 * What is too old is punched out of the file's beginning, so that no byte is lost or moved under a container that writes.
 */
export function createLogStore({ directory, keepBytes, failed }: LogStoreOptions): LogStore {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const known = new Map<string, { knownTo: number; keptFrom: number; punching: boolean }>();
  const pathOf = (podUid: string) => join(directory, podUid + SUFFIX);
  const indexOf = (podUid: string) => join(directory, `${podUid}.index`);
  for (const file of readdirSync(directory)) if (file.endsWith(SUFFIX)) note(file.slice(0, -SUFFIX.length));

  function note(podUid: string) {
    const index = readIndex(indexOf(podUid));
    if (isLarge(index)) compactIndex(indexOf(podUid));
    const entry = { knownTo: index.knownTo, keptFrom: index.keptFrom, punching: false };
    known.set(podUid, entry);
    return entry;
  }

  /** Writes down until when the log has grown, and lets go of what is too much. */
  function catchUp(podUid: string): void {
    const entry = known.get(podUid) ?? note(podUid);
    const stat = statSync(pathOf(podUid), { throwIfNoEntry: false });
    if (stat === undefined || stat.size === entry.knownTo) return;
    if (stat.size < entry.knownTo) {
      reset(podUid);
      return;
    }
    addToIndex(indexOf(podUid), `t ${entry.knownTo} ${stat.size} ${Math.floor(stat.mtimeMs)}`);
    entry.knownTo = stat.size;
    if (stat.size - entry.keptFrom > 2 * keepBytes && !entry.punching) punch(podUid, entry, stat.size);
  }

  function punch(podUid: string, entry: { keptFrom: number; punching: boolean }, sizeBytes: number): void {
    const keptFrom = Math.floor((sizeBytes - keepBytes) / BLOCK_BYTES) * BLOCK_BYTES;
    entry.punching = true;
    execFile('fallocate', ['--punch-hole', '--offset', '0', '--length', String(keptFrom), pathOf(podUid)], (error) => {
      entry.punching = false;
      if (known.get(podUid) !== entry || !existsSync(pathOf(podUid))) return;
      attempt(podUid, () => {
        if (error !== null) {
          // This file system makes no holes: start over rather than fill the disk.
          truncateSync(pathOf(podUid), 0);
          return reset(podUid);
        }
        entry.keptFrom = keptFrom;
        addToIndex(indexOf(podUid), `k ${keptFrom}`);
        compactIndex(indexOf(podUid));
      });
    });
  }

  /** The file was emptied under the index. */
  function reset(podUid: string): void {
    rmSync(indexOf(podUid), { force: true });
    addToIndex(indexOf(podUid), 's 0');
    note(podUid);
  }

  function attempt(podUid: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      failed(`log of pod ${podUid}`, error);
    }
  }

  const timer = setInterval(() => {
    for (const podUid of known.keys()) attempt(podUid, () => catchUp(podUid));
  }, LOOK_INTERVAL_MS);
  timer.unref();

  return {
    pathOf,
    opening: (podUid, how) => {
      catchUp(podUid);
      // What goes on from a snapshot has a beginning, too: without one, its log would never be the previous one.
      const isFirst = (known.get(podUid)?.knownTo ?? 0) === 0;
      if (how === 'start' || isFirst) addToIndex(indexOf(podUid), `s ${known.get(podUid)?.knownTo ?? 0}`);
    },
    look: (podUid) => {
      if (!existsSync(pathOf(podUid))) return undefined;
      catchUp(podUid);
      return readIndex(indexOf(podUid));
    },
    remove: (podUid) => {
      known.delete(podUid);
      for (const path of [pathOf(podUid), indexOf(podUid)]) rmSync(path, { force: true });
    },
    keys: () => [...new Set(readdirSync(directory).map((file) => file.slice(0, file.lastIndexOf('.'))))],
    close: () => clearInterval(timer),
  };
}
