import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { unmountBelow } from '../../src/engine/runtime/mounts.ts';

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

const GATEWAY = '10.127.1.1';
const namespaceOf = (index: number) => `sandbox-router-bench-${index}`;
const linkOf = (index: number) => `srbench${index}`;
const addressOf = (index: number) => `10.127.1.${index + 2}`;
const containerOf = (index: number) => `bench${String(index).padStart(8, '0')}`;

/** Copies what is needed. */
export function prepareBareRestores(options: BareRestoresOptions): BareRestores {
  const { directory, count } = options;
  const image = join(directory, 'image');
  const root = '/run/sandbox-router-bench-many';
  const indexes = Array.from({ length: count }, (_, index) => index);
  mkdirSync(root, { recursive: true });
  mkdirSync(directory, { recursive: true });
  cpSync(options.snapshotDirectory, image, { recursive: true });
  const config = JSON.parse(readFileSync(options.bundleConfigPath, 'utf8'));
  for (const index of indexes) {
    const bundle = join(directory, String(index));
    mkdirSync(join(bundle, 'filestore'), { recursive: true });
    for (const namespace of config.linux.namespaces)
      if (namespace.type === 'network') namespace.path = `/run/netns/${namespaceOf(index)}`;
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
  }
  const flagsOf = (index: number) => [
    `--root=${root}`,
    `--platform=${options.platform}`,
    '--network=sandbox',
    '--ignore-cgroups',
    `--overlay2=root:dir=${join(directory, String(index), 'filestore')}`,
  ];
  const restore = async (index: number) => {
    const bundle = join(directory, String(index));
    const command = ['restore', '--detach', '--background', `--bundle=${bundle}`, `--image-path=${image}`];
    const child = spawn(options.runscPath, [...flagsOf(index), ...command, containerOf(index)], {
      stdio: 'ignore',
      cwd: '/',
      detached: true,
    });
    const exited = once(child, 'exit');
    await accepts(addressOf(index), options.port);
    await exited;
  };

  return {
    measure: async () => {
      for (const index of indexes) makeNetwork(index);
      const startedAt = performance.now();
      const waiting = indexes.values();
      const worker = async () => {
        for (const index of waiting) await restore(index);
      };
      await Promise.all(Array.from({ length: options.atOnce }, worker));
      const elapsedMs = performance.now() - startedAt;
      for (const index of indexes) {
        execFileSync(options.runscPath, [...flagsOf(index), 'delete', '--force', containerOf(index)], {
          stdio: 'ignore',
        });
        removeNetwork(index);
      }
      return count / (elapsedMs / 1000);
    },
    close: () => {
      for (const index of indexes) removeNetwork(index);
      // Restores that begin at once each bind it: one umount may not be enough.
      unmountBelow(root);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

function makeNetwork(index: number): void {
  removeNetwork(index);
  const ip = (input: string, namespace: string[] = []) => execFileSync('ip', [...namespace, '-batch', '-'], { input });
  ip(`netns add ${namespaceOf(index)}
link add ${linkOf(index)} type veth peer name eth0 netns ${namespaceOf(index)}
addr add ${GATEWAY}/32 dev ${linkOf(index)}
link set ${linkOf(index)} up
route replace ${addressOf(index)}/32 dev ${linkOf(index)} src ${GATEWAY}
`);
  const inside = `link set lo up
addr add ${addressOf(index)}/32 dev eth0
link set eth0 up
route add ${GATEWAY}/32 dev eth0
`;
  ip(inside, ['-n', namespaceOf(index)]);
}

function removeNetwork(index: number): void {
  // The link first: the pair goes with its namespace too, but only later.
  if (existsSync(`/sys/class/net/${linkOf(index)}`)) execFileSync('ip', ['link', 'delete', linkOf(index)]);
  if (existsSync(`/run/netns/${namespaceOf(index)}`)) execFileSync('ip', ['netns', 'delete', namespaceOf(index)]);
}

async function accepts(host: string, port: number): Promise<void> {
  const giveUpAt = performance.now() + 60_000;
  while (performance.now() < giveUpAt) {
    const socket = connect(port, host);
    const connected = await Promise.race([
      once(socket, 'connect').then(
        () => true,
        () => false,
      ),
      // A SYN that the new stack missed is repeated only after a second.
      delay(50, false),
    ]);
    socket.destroy();
    if (connected) return;
    await delay(2);
  }
  throw new Error('A restored container did not answer.');
}
