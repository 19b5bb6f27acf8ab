import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Where a container is restored without an engine: its network, and what is kept of it. */
export interface BareContainer {
  id: string;
  namespace: string;
  link: string;
  gateway: string;
  address: string;
  bundle: string;
  filestore: string;
}

/** How runsc is called. */
export interface BareRunsc {
  path: string;
  platform: string;
  root: string;
}

/** Writes its bundle from `config.json` of a container as an engine ran it. */
export function writeBareBundle(
  configPath: string,
  { bundle, filestore, namespace }: Pick<BareContainer, 'bundle' | 'filestore' | 'namespace'>,
): void {
  for (const path of [bundle, filestore]) mkdirSync(path, { recursive: true });
  const config = JSON.parse(readFileSync(configPath, 'utf8'));
  for (const each of config.linux.namespaces) if (each.type === 'network') each.path = `/run/netns/${namespace}`;
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
}

/** Makes its network anew. */
export function makeBareNetwork(container: BareContainer): void {
  const { namespace, link, gateway, address } = container;
  removeBareNetwork(container);
  const ip = (input: string, flags: string[] = []) => execFileSync('ip', [...flags, '-batch', '-'], { input });
  ip(`netns add ${namespace}
link add ${link} type veth peer name eth0 netns ${namespace}
addr add ${gateway}/32 dev ${link}
link set ${link} up
route replace ${address}/32 dev ${link} src ${gateway}
`);
  const inside = `link set lo up
addr add ${address}/32 dev eth0
link set eth0 up
route add ${gateway}/32 dev eth0
`;
  ip(inside, ['-n', namespace]);
}

/** Removes its network, if there is one. */
export function removeBareNetwork({ namespace, link }: Pick<BareContainer, 'namespace' | 'link'>): void {
  // The link first: the pair goes with its namespace too, but only later.
  if (existsSync(`/sys/class/net/${link}`)) execFileSync('ip', ['link', 'delete', link]);
  if (existsSync(`/run/netns/${namespace}`)) execFileSync('ip', ['netns', 'delete', namespace]);
}

/** Starts `runsc restore`; resolves when that ends. Rejects with what it said where it fails. */
export async function bareRestore(
  runsc: BareRunsc,
  { id, bundle, filestore }: BareContainer,
  image: string,
): Promise<void> {
  const restore = ['restore', '--detach', '--background', `--bundle=${bundle}`, `--image-path=${image}`, id];
  const outputPath = join(bundle, 'output');
  const output = openSync(outputPath, 'w');
  const flags = [...flagsOf(runsc, filestore), ...restore];
  const child = spawn(runsc.path, flags, { stdio: ['ignore', 'ignore', output], cwd: '/', detached: true });
  closeSync(output);
  const [exitCode, signal] = await once(child, 'exit');
  if (exitCode === 0) return;
  throw new Error(`runsc restore ended with ${exitCode ?? signal}: ${readFileSync(outputPath, 'utf8').slice(-2000)}`);
}

/** Removes a container that was restored. */
export function deleteBareContainer(runsc: BareRunsc, { id, filestore }: BareContainer): void {
  execFileSync(runsc.path, [...flagsOf(runsc, filestore), 'delete', '--force', id], { stdio: 'ignore' });
}

/** Dials until `reached` resolves with something for a connection, and resolves with that. */
export async function dialUntil<T>(
  { host, port, giveUpMs, pauseMs }: { host: string; port: number; giveUpMs: number; pauseMs: number },
  reached: (socket: Socket) => Promise<T | undefined>,
): Promise<T> {
  const giveUpAt = performance.now() + giveUpMs;
  while (performance.now() < giveUpAt) {
    const socket = connect(port, host);
    const found = await Promise.race([
      reached(socket).catch(() => undefined),
      // A SYN that the new stack missed is repeated only after a second.
      delay(50, undefined),
    ]);
    socket.destroy();
    if (found !== undefined) return found;
    await delay(pauseMs);
  }
  throw new Error('A restored container did not answer.');
}

function flagsOf({ root, platform }: BareRunsc, filestore: string): string[] {
  return [
    `--root=${root}`,
    `--platform=${platform}`,
    '--network=sandbox',
    '--ignore-cgroups',
    `--overlay2=root:dir=${filestore}`,
  ];
}
