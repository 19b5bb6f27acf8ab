import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

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
const LINK = 'srbench0';
const GATEWAY = '10.127.0.1';
const ADDRESS = '10.127.0.2';

/** Copies the snapshot and the bundle. */
export function prepareBareRestore(options: BareRestoreOptions): BareRestore {
  const { directory } = options;
  const image = join(directory, 'image');
  const bundle = join(directory, 'bundle');
  const filestore = join(directory, 'filestore');
  const root = `/run/${NAMESPACE}`;
  for (const path of [bundle, filestore, root]) mkdirSync(path, { recursive: true });
  cpSync(options.snapshotDirectory, image, { recursive: true });
  const config = JSON.parse(readFileSync(options.bundleConfigPath, 'utf8'));
  for (const namespace of config.linux.namespaces)
    if (namespace.type === 'network') namespace.path = `/run/netns/${NAMESPACE}`;
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
  const flags = [
    `--root=${root}`,
    `--platform=${options.platform}`,
    '--network=sandbox',
    '--ignore-cgroups',
    `--overlay2=root:dir=${filestore}`,
  ];
  const ip = (script: string, namespace?: string) =>
    execFileSync('ip', [...(namespace === undefined ? [] : ['-n', namespace]), '-batch', '-'], { input: script });
  const removeNetwork = () => {
    // The link first: the pair goes with its namespace too, but only later.
    if (existsSync(`/sys/class/net/${LINK}`)) execFileSync('ip', ['link', 'delete', LINK]);
    if (existsSync(`/run/netns/${NAMESPACE}`)) execFileSync('ip', ['netns', 'delete', NAMESPACE]);
  };
  const makeNetwork = () => {
    removeNetwork();
    ip(`netns add ${NAMESPACE}
link add ${LINK} type veth peer name eth0 netns ${NAMESPACE}
addr add ${GATEWAY}/32 dev ${LINK}
link set ${LINK} up
route replace ${ADDRESS}/32 dev ${LINK} src ${GATEWAY}
`);
    ip(
      `link set lo up
addr add ${ADDRESS}/32 dev eth0
link set eth0 up
route add ${GATEWAY}/32 dev eth0
`,
      NAMESPACE,
    );
  };
  let round = 0;

  return {
    measure: async () => {
      const id = `bench${String(round++).padStart(8, '0')}`;
      makeNetwork();
      const startedAt = performance.now();
      const restore = ['restore', '--detach', '--background', `--bundle=${bundle}`, `--image-path=${image}`, id];
      const child = spawn(options.runscPath, [...flags, ...restore], { stdio: 'ignore', cwd: '/', detached: true });
      const exited = once(child, 'exit');
      const elapsedMs = (await firstByte(ADDRESS, options.port)) - startedAt;
      await exited;
      execFileSync(options.runscPath, [...flags, 'delete', '--force', id], { stdio: 'ignore' });
      return elapsedMs;
    },
    close: () => {
      removeNetwork();
      if (existsSync(`${root}/null-netns`)) execFileSync('umount', [`${root}/null-netns`]);
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** When the first byte of an answer arrived; dials until somebody listens. */
async function firstByte(host: string, port: number): Promise<number> {
  const giveUpAt = performance.now() + 30_000;
  while (performance.now() < giveUpAt) {
    const socket = connect(port, host);
    socket.on('connect', () => socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
    const arrived = await Promise.race([
      once(socket, 'data').then(
        () => performance.now(),
        () => undefined,
      ),
      // A SYN that the new stack missed is repeated only after a second.
      delay(50, undefined),
    ]);
    socket.destroy();
    if (arrived !== undefined) return arrived;
    await delay(1);
  }
  throw new Error('The restored container did not answer.');
}
