import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerRuntime } from '../../runtime/index.ts';

/** Snapshots of the engine on disk: a directory for each, and beside it the address that its connections know. */
export interface SnapshotDirectory {
  pathOf(id: string): string;
  exists(id: string): boolean;
  /** True also for one whose writing began and may still go on. */
  begun(id: string): boolean;
  writeAddress(id: string, address: string): void;
  addressOf(id: string): string | undefined;
  discard(id: string): Promise<void>;
  /** Ids of all snapshots, complete or not. */
  list(): string[];
}

/** Id of the snapshot in which a Pod's memory lies while the engine is stopped. */
export function hibernationId(podUid: string): string {
  return `hibernated-${podUid}`;
}

/** Snapshots below `directory`; removing one goes through the runtime, since some keep processes alive. */
export function createSnapshotDirectory(directory: string, runtime: ContainerRuntime): SnapshotDirectory {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const pathOf = (id: string) => join(directory, id);
  const addressPathOf = (id: string) => join(directory, `${id}.json`);
  return {
    pathOf,
    exists: (id) => existsSync(pathOf(id)),
    begun: (id) => existsSync(pathOf(id)) || existsSync(`${pathOf(id)}.partial`),
    writeAddress: (id, address) => writeFileSync(addressPathOf(id), JSON.stringify({ address }), { mode: 0o600 }),
    addressOf: (id) => {
      if (!existsSync(addressPathOf(id))) return undefined;
      return (JSON.parse(readFileSync(addressPathOf(id), 'utf8')) as { address: string }).address;
    },
    discard: async (id) => {
      await runtime.discardSnapshot(pathOf(id));
      rmSync(addressPathOf(id), { force: true });
    },
    list: () => [...new Set(readdirSync(directory).map((file) => file.replace(/\.(json|partial)$/, '')))],
  };
}
