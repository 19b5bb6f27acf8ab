import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PulledImage } from '../../images/index.ts';
import type { MemberRecord } from './members.ts';

/** What the engine must know of a pod after a restart that the API does not say. */
export interface PodRecord {
  uid: string;
  namespace: string;
  name: string;
  containerId: string;
  address: string;
  /** RFC 3339; absent until its container was started. */
  startedAt?: string;
  restartCount: number;
  /** Content of the image that it was started from; absent for the built-in one. */
  image?: PulledImage;
  /** Of a template's seed: hash of what its processes were started with, see {@link processRevision}. */
  processes?: string;
  /** Its containers by name, where several share its sandbox. */
  members?: Record<string, MemberRecord>;
  /** Their sandbox goes on from a snapshot. */
  isRestored?: boolean;
}

/** Small durable files, one a pod. */
export interface PodRecords {
  all(): PodRecord[];
  write(record: PodRecord): void;
  remove(uid: string): void;
}

/** Records in a directory; each write is atomic. */
export function createPodRecords(directory: string): PodRecords {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const pathOf = (uid: string) => join(directory, `${uid}.json`);
  return {
    all: () =>
      readdirSync(directory)
        .filter((file) => file.endsWith('.json'))
        .map((file) => JSON.parse(readFileSync(join(directory, file), 'utf8')) as PodRecord),
    write: (record) => {
      const temporary = `${pathOf(record.uid)}.new`;
      writeFileSync(temporary, JSON.stringify(record), { mode: 0o600 });
      renameSync(temporary, pathOf(record.uid));
    },
    remove: (uid) => {
      if (existsSync(pathOf(uid))) rmSync(pathOf(uid));
    },
  };
}
