import { existsSync, renameSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { discardPartial, isBeingWritten, PARTIAL_SUFFIX } from './snapshot.ts';

/** Removes snapshots. */
export interface SnapshotRemoval {
  /** Removes a snapshot, complete or not: it is not there any more once this resolves, and its room on the disk is free a moment later. */
  discard(directory: string): Promise<void>;
  /** Resolves once all room is free. */
  finish(): Promise<void>;
}

/** Suffix of a snapshot directory that is not wanted any more. */
const DISCARDED_SUFFIX = '.discarded';
/** A snapshot goes mostly when its sandbox was woken from it: freeing half a gigabyte takes a tenth of a second, in which the first request is answered. */
const FREE_AFTER_MS = 1000;

/** A removal that puts off what takes long. What it does not get to, the next engine's does: such directories are listed like snapshots. */
export function createSnapshotRemoval(): SnapshotRemoval {
  const pending = new Map<string, () => Promise<void>>();

  function freeLater(path: string): void {
    const free = async () => {
      clearTimeout(timer);
      await rm(path, { recursive: true, force: true });
      pending.delete(path);
    };
    const timer = setTimeout(() => free().catch(() => {}), FREE_AFTER_MS);
    timer.unref();
    pending.set(path, free);
  }

  return {
    discard: async (directory) => {
      // One that is still written is waited for: `runsc checkpoint` would make its directory again.
      while (existsSync(directory + PARTIAL_SUFFIX) && isBeingWritten(directory)) await delay(20);
      discardPartial(directory);
      const path = directory + DISCARDED_SUFFIX;
      if (existsSync(directory)) {
        rmSync(path, { recursive: true, force: true });
        renameSync(directory, path);
      }
      if (existsSync(path) && !pending.has(path)) freeLater(path);
    },
    finish: async () => {
      await Promise.all([...pending.values()].map((free) => free()));
    },
  };
}
