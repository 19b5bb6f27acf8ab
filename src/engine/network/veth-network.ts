import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { promisify } from 'node:util';
import { type CommandShell, quoted } from '../command-shell.ts';
import type { SandboxNetwork } from './network.ts';

const execute = promisify(execFile);

/** Directory in which `ip netns` keeps its namespaces. */
const NAMESPACES = '/run/netns';
const ATTACH_TIMEOUT_MS = 10_000;

/** What a veth network needs. */
export interface VethNetworkOptions {
  /** Four hex digits that tell this engine's namespaces and links from another's on the same machine. */
  engineTag: string;
  /** First three octets chosen for this engine's sandboxes: `10.88.16` stands for a /20 that begins there. */
  subnet: AddressRange;
  shell: CommandShell;
  /** Whether nftables may be used to keep sandboxes from this machine's own services. */
  firewall: boolean;
}

/** IPv4 addresses of sandboxes: the first is the gateway that every host side shares. */
export interface AddressRange {
  /** First address as a number. */
  base: number;
  size: number;
}

/**
 * A /20 for an engine, out of 10.64.0.0/10, by its tag: engines on one machine do not meet, and an engine keeps its addresses over restarts,
 * so that connections survive a checkpoint.
 */
export function addressRangeOf(engineTag: string): AddressRange {
  return { base: 0x0a400000 + ((Number.parseInt(engineTag, 16) & 0x3ff) << 12), size: 4096 };
}

/**
 * A network namespace and a veth pair for each sandbox. The sandbox has one route, to the gateway address on the host's end of its own pair: nothing else
 * answers it, no other sandbox and no other network. The firewall lets it answer the host, never call it.
 */
export function createVethNetwork({ engineTag, subnet, shell, firewall }: VethNetworkOptions): SandboxNetwork {
  const addresses = new Map<string, number>();
  const taken = new Set<number>();
  const gateway = dotted(subnet.base + 1);
  let next = 2;
  if (firewall) installFirewall(engineTag);
  // What is for a sandbox that is gone must never leave this machine by its default route: somebody there might even answer.
  const range = `${dotted(subnet.base)}/${32 - Math.log2(subnet.size)}`;
  execFileSync('ip', ['route', 'replace', 'unreachable', range]);

  const namespaceOf = (id: string) => `sandbox-router-${engineTag}-${id}`;
  const linkOf = (id: string) => `s${engineTag}${id}`;

  function assign(id: string, address: number): number {
    const before = addresses.get(id);
    if (before !== undefined) taken.delete(before);
    addresses.set(id, address);
    taken.add(address);
    return address;
  }

  function choose(id: string, preferred: string | undefined): number {
    const wanted = preferred === undefined ? addresses.get(id) : numeric(preferred);
    const inRange = wanted !== undefined && wanted > subnet.base + 1 && wanted < subnet.base + subnet.size - 1;
    if (inRange && (!taken.has(wanted) || addresses.get(id) === wanted)) return assign(id, wanted);
    for (let tried = 0; tried < subnet.size; tried++) {
      const candidate = subnet.base + next;
      next = next + 1 >= subnet.size - 1 ? 2 : next + 1;
      if (!taken.has(candidate)) return assign(id, candidate);
    }
    throw new Error(`all ${subnet.size - 3} addresses of this engine are in use`);
  }

  async function detach(id: string): Promise<void> {
    const address = addresses.get(id);
    if (address !== undefined) taken.delete(address);
    addresses.delete(id);
    await removeNetwork(id);
  }

  async function removeNetwork(id: string): Promise<void> {
    // The pair goes with the namespace, but only later: the name must be free when this returns.
    await execute('ip', ['link', 'delete', linkOf(id)]).catch(() => {});
    if (existsSync(`${NAMESPACES}/${namespaceOf(id)}`)) await execute('ip', ['netns', 'delete', namespaceOf(id)]);
  }

  return {
    attach: async (id, preferredAddress) => {
      const address = dotted(choose(id, preferredAddress));
      const namespace = namespaceOf(id);
      const link = linkOf(id);
      if (existsSync(`/sys/class/net/${link}`) || existsSync(`${NAMESPACES}/${namespace}`)) await removeNetwork(id);
      const host = [
        `netns add ${namespace}`,
        `link add ${link} type veth peer name eth0 netns ${namespace}`,
        `addr add ${gateway}/32 dev ${link}`,
        `link set ${link} up`,
        `route replace ${address}/32 dev ${link} src ${gateway}`,
      ];
      const inside = [
        'link set lo up',
        `addr add ${address}/32 dev eth0`,
        'link set eth0 up',
        `route add ${gateway}/32 dev eth0`,
      ];
      const batch = (lines: string[], flags: string[]) =>
        `printf %s ${quoted([`${lines.join('\n')}\n`])} | ip ${quoted([...flags, '-batch', '-'])}`;
      const script = `${batch(host, [])} && ${batch(inside, ['-n', namespace])}`;
      const { exitCode, stderr } = await shell.run(script, ATTACH_TIMEOUT_MS);
      if (exitCode !== 0) {
        await detach(id);
        throw new Error(`could not make the network of container ${id}: ${stderr.trim() || `exit code ${exitCode}`}`);
      }
      return { namespacePath: `${NAMESPACES}/${namespace}`, address };
    },
    detach,
    list: async () => {
      const ids = new Set<string>();
      const namespaces = existsSync(NAMESPACES) ? readdirSync(NAMESPACES) : [];
      for (const name of namespaces) if (name.startsWith(namespaceOf(''))) ids.add(name.slice(namespaceOf('').length));
      for (const name of readdirSync('/sys/class/net'))
        if (name.startsWith(linkOf(''))) ids.add(name.slice(linkOf('').length));
      return [...ids];
    },
    adopt: (id, address) => {
      const value = numeric(address);
      if (value !== undefined) assign(id, value);
    },
    close: async () => {
      await execute('ip', ['route', 'delete', 'unreachable', range]).catch(() => {});
      if (firewall) await execute('nft', ['delete', 'table', 'inet', tableOf(engineTag)]).catch(() => {});
    },
  };
}

function tableOf(engineTag: string): string {
  return `sandbox_router_${engineTag}`;
}

/** What comes from a sandbox may only answer what this machine began; nothing is forwarded from one. */
function installFirewall(engineTag: string): void {
  const table = tableOf(engineTag);
  const links = `"s${engineTag}*"`;
  const rules = `
table inet ${table}
delete table inet ${table}
table inet ${table} {
  chain input {
    type filter hook input priority -10; policy accept;
    iifname ${links} ct state established,related accept
    iifname ${links} drop
  }
  chain forward {
    type filter hook forward priority -10; policy accept;
    iifname ${links} drop
    oifname ${links} drop
  }
}
`;
  execFileSync('nft', ['-f', '-'], { input: rules, stdio: ['pipe', 'ignore', 'pipe'] });
}

function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

function numeric(address: string): number | undefined {
  const parts = address.split('.').map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255)) return undefined;
  return parts.reduce((value, part) => value * 256 + part, 0);
}
