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

/** A container of an engine and a snapshot of it, to be restored without the engine. */
export interface BareRestoreOptions {
  runscPath: string;
  platform: string;
  /** Everything that a bare restore needs is kept here. */
  directory: string;
  /** `config.json` of the container as the engine ran it. */
  bundleConfigPath: string;
  /** Copied, as the engine removes its own once restored. */
  snapshotDirectory: string;
  port: number;
}

/** Restores one snapshot over and over with nothing but `runsc`. */
export interface BareRestore {
  /** Milliseconds from starting `runsc restore` to the first byte of an answer; the network is made before, the container removed after. */
  measure(): Promise<number>;
  close(): void;
}

const NAMESPACE = 'sandbox-router-bench';

/** Copies the snapshot and the bundle. */
export function prepareBareRestore(options: BareRestoreOptions): BareRestore {
  const { directory, port } = options;
  const image = join(directory, 'image');
  const runsc = { path: options.runscPath, platform: options.platform, root: `/run/${NAMESPACE}` };
  const place: Omit<BareContainer, 'id'> = {
    namespace: NAMESPACE,
    link: 'srbench0',
    gateway: '10.127.0.1',
    address: '10.127.0.2',
    bundle: join(directory, 'bundle'),
    filestore: join(directory, 'filestore'),
  };
  let round = 0;
  mkdirSync(runsc.root, { recursive: true });
  cpSync(options.snapshotDirectory, image, { recursive: true });
  writeBareBundle(options.bundleConfigPath, place);

  return {
    measure: async () => {
      const container = { ...place, id: `bench${String(round++).padStart(8, '0')}` };
      makeBareNetwork(container);
      const startedAt = performance.now();
      const restored = bareRestore(runsc, container, image);
      const host = container.address;
      const answers = dialUntil({ host, port, giveUpMs: 30_000, pauseMs: 1 }, async (socket) => {
        socket.on('connect', () => socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
        await once(socket, 'data');
        return performance.now();
      });
      try {
        const [arrivedAt] = await Promise.all([answers, restored]);
        return arrivedAt - startedAt;
      } finally {
        deleteBareContainer(runsc, container);
      }
    },
    close: () => {
      removeBareNetwork(place);
      unmountBelow(runsc.root);
      rmSync(runsc.root, { recursive: true, force: true });
    },
  };
}
