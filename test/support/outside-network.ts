import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A name of the outside DNS server; `truncate` makes it answer in full over TCP only. */
export type ZoneEntry = { address: string; ttl: number; truncate?: boolean } | { alias: string; ttl: number };

/** Hosts in a network namespace of their own, reachable from this machine by one link. */
export interface OutsideNetwork {
  /** Replaces what the DNS server knows. */
  setZone(zone: Record<string, ZoneEntry>): void;
  /** Whether a host out there gets a TCP connection to an address, by way of this machine. */
  connects(address: string, port: number): boolean;
  close(): Promise<void>;
}

const NAMESPACE_PREFIX = 'outside-';

/** Where the namespace sends what it answers: this machine's end of the link. */
const NEAR_END = '198.51.100.1';

/**
 * Makes a namespace with these addresses, in which every one of them answers on the ports (and one of them to DNS), and routes to them. Documentation addresses of
 * RFC 5737, private and link-local ones: none of them exists on a machine that runs tests.
 */
export async function makeOutsideNetwork(options: {
  directory: string;
  addresses: string[];
  /** The one of them on which DNS answers. */
  nameServer: string;
  tcpPorts: number[];
  udpPorts: number[];
}): Promise<OutsideNetwork> {
  const tag = process.pid.toString(36);
  const namespace = `${NAMESPACE_PREFIX}${tag}`;
  const link = `out${tag}`;
  const zonePath = join(options.directory, 'zone.json');
  const inside = (...words: string[]) => ip('-n', namespace, ...words);
  const setZone = (zone: Record<string, ZoneEntry>) => writeFileSync(zonePath, JSON.stringify(zone));
  let server: ChildProcess | undefined;

  const close = async () => {
    if (server !== undefined && server.exitCode === null) {
      const ended = once(server, 'exit');
      server.kill('SIGKILL');
      await ended;
    }
    remove(namespace, link);
    rmSync(zonePath, { force: true });
  };

  try {
    setZone({});
    removeLeftOvers();
    ip('netns', 'add', namespace);
    ip('link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
    ip('address', 'add', `${NEAR_END}/32`, 'dev', link);
    ip('link', 'set', link, 'up');
    inside('link', 'set', 'lo', 'up');
    inside('link', 'set', 'eth0', 'up');
    for (const address of options.addresses) inside('address', 'add', `${address}/32`, 'dev', 'eth0');
    inside('route', 'add', `${NEAR_END}/32`, 'dev', 'eth0');
    inside('route', 'add', 'default', 'via', NEAR_END, 'dev', 'eth0');
    for (const address of options.addresses) ip('route', 'add', `${address}/32`, 'dev', link);
    const program = join(import.meta.dirname, 'outside-host.ts');
    const commandLine = [program, zonePath, options.nameServer, options.tcpPorts.join(','), options.udpPorts.join(',')];
    server = spawn('ip', ['netns', 'exec', namespace, process.execPath, ...commandLine], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(server.stdout as NonNullable<typeof server.stdout>, 'data');
  } catch (error) {
    await close();
    throw error;
  }

  return {
    setZone,
    connects: (address, port) => {
      const script = `require('net').connect({host:'${address}',port:${port},timeout:2000}).on('connect',()=>process.exit(0)).on('error',()=>process.exit(1)).on('timeout',()=>process.exit(1))`;
      try {
        execFileSync('ip', ['netns', 'exec', namespace, process.execPath, '-e', script], { stdio: 'ignore' });
        return true;
      } catch {
        return false;
      }
    },
    close,
  };
}

/** A run that was killed leaves its namespace, and with it routes to the very addresses that the next one needs. */
function removeLeftOvers(): void {
  for (const name of readdirSync('/run/netns')) {
    if (!name.startsWith(NAMESPACE_PREFIX)) continue;
    const tag = name.slice(NAMESPACE_PREFIX.length);
    if (existsSync(`/proc/${Number.parseInt(tag, 36)}`)) continue;
    for (const processId of ip('netns', 'pids', name).split('\n').filter(Boolean))
      process.kill(Number(processId), 'SIGKILL');
    remove(name, `out${tag}`);
  }
}

function remove(namespace: string, link: string): void {
  for (const words of [
    ['link', 'delete', link],
    ['netns', 'delete', namespace],
  ])
    try {
      ip(...words);
    } catch {
      // It was never made.
    }
}

function ip(...words: string[]): string {
  return execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
}
