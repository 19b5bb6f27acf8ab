import { once } from 'node:events';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { unmountBelow } from '../../src/engine/runtime/mounts.ts';
import {
  type BareContainer,
  bareRestore,
  deleteBareContainer,
  dialUntil,
  makeBareNetwork,
  removeBareNetwork,
  writeBareBundle,
} from './bare-container.ts';

/** A snapshot, and a container that was restored from it by an engine, to be restored without one. */
export interface BareRestoresOptions {
  runscPath: string;
  platform: string;
  directory: string;
  /** `config.json` of that container. */
  bundleConfigPath: string;
  snapshotDirectory: string;
  port: number;
  /** Containers in a round, and restores under way at once. */
  count: number;
  atOnce: number;
}

/** Restores one snapshot many times with nothing but `runsc`. */
export interface BareRestores {
  /** Containers a second, from starting the first `runsc restore` until the port of the last one accepts. Networks are made before, containers removed after. */
  measure(): Promise<number>;
  close(): void;
}

/** Copies what is needed. */
export function prepareBareRestores(options: BareRestoresOptions): BareRestores {
  const { directory, count, port } = options;
  const image = join(directory, 'image');
  const runsc = { path: options.runscPath, platform: options.platform, root: '/run/sandbox-router-bench-many' };
  const containers = Array.from({ length: count }, (_, index): BareContainer => {
    const bundle = join(directory, String(index));
    return {
      id: `bench${String(index).padStart(8, '0')}`,
      namespace: `sandbox-router-bench-${index}`,
      link: `srbench${index}`,
      gateway: '10.127.1.1',
      address: `10.127.1.${index + 2}`,
      bundle,
      filestore: join(bundle, 'filestore'),
    };
  });
  mkdirSync(runsc.root, { recursive: true });
  mkdirSync(directory, { recursive: true });
  cpSync(options.snapshotDirectory, image, { recursive: true });
  for (const container of containers) writeBareBundle(options.bundleConfigPath, container);
  const restore = async (container: BareContainer) => {
    const answers = dialUntil({ host: container.address, port, giveUpMs: 60_000, pauseMs: 2 }, async (socket) => {
      await once(socket, 'connect');
      return true;
    });
    await Promise.all([bareRestore(runsc, container, image), answers]);
  };

  return {
    measure: async () => {
      for (const container of containers) makeBareNetwork(container);
      const startedAt = performance.now();
      const waiting = containers.values();
      const worker = async () => {
        for (const container of waiting) await restore(container);
      };
      await Promise.all(Array.from({ length: options.atOnce }, worker));
      const elapsedMs = performance.now() - startedAt;
      for (const container of containers) {
        deleteBareContainer(runsc, container);
        removeBareNetwork(container);
      }
      return count / (elapsedMs / 1000);
    },
    close: () => {
      for (const container of containers) removeBareNetwork(container);
      // Restores that begin at once each bind it: one umount may not be enough.
      unmountBelow(runsc.root);
      rmSync(runsc.root, { recursive: true, force: true });
    },
  };
}
