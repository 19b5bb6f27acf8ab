import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { CommandShell } from '../command-shell.ts';
import { type AddressRange, blockOf, dotted, gatewayOf, numeric } from './addresses.ts';
import { linkName, namespaceName } from './links.ts';
import type { SandboxNetwork } from './network.ts';
import { createReservations } from './reservations.ts';

const execute = promisify(execFile);

/** Directory in which `ip netns` keeps its namespaces. */
const NAMESPACES = '/run/netns';
const ATTACH_TIMEOUT_MS = 10_000;
/** What is restored answers after a multiple of this, and needs the processor until then more than who will call it. */
const OPEN_AFTER_MS = 15;

/** What a veth network needs. */
export interface VethNetworkOptions {
  /** Four hex digits that tell this engine's namespaces and links from another's on the same machine. */
  engineTag: string;
  /** First three octets chosen for this engine's sandboxes: `10.88.16` stands for a /20 that begins there. */
  subnet: AddressRange;
  shell: CommandShell;
  /** Whether sandboxes get a route out: only where a firewall decides what may take it. */
  routeOut: boolean;
}

/**
 * A network namespace and a veth pair for each sandbox. Its routes lead to the gateway address on the host's end of its own pair; what the machine takes from
 * there and hands on, to other sandboxes and networks, is up to the firewall.
 */
export async function createVethNetwork(options: VethNetworkOptions): Promise<SandboxNetwork> {
  const { engineTag, subnet, shell, routeOut } = options;
  const addresses = new Map<string, number>();
  const taken = new Set<number>();
  const attachments = new Map<string, string>();
  /** Addresses inside of namespaces that wait. */
  const prepared = new Map<string, string>();
  /** Those attached whose host's end is still down, with the reservation that their address comes from. */
  const closed = new Map<string, string | undefined>();
  const listeners: (() => void)[] = [];
  const reservations = createReservations<number>(subnet.size / 2);
  const gateway = gatewayOf(subnet);
  let next = 2;
  // What is for a sandbox that is gone must never leave this machine by its default route: somebody there might even answer.
  await execute('ip', ['route', 'replace', 'unreachable', blockOf(subnet)]);
  // The DNS proxy listens at this address, also while there is no sandbox.
  if (routeOut) await execute('ip', ['address', 'replace', `${gateway}/32`, 'dev', 'lo']);

  const namespaceOf = (id: string) => namespaceName(engineTag, id);
  const pathOf = (id: string) => `${NAMESPACES}/${namespaceOf(id)}`;
  const linkOf = (id: string) => linkName(engineTag, id);

  function changed(): void {
    for (const listener of listeners) listener();
  }

  function assign(id: string, address: number): number {
    const before = addresses.get(id);
    if (before !== undefined) taken.delete(before);
    addresses.set(id, address);
    taken.add(address);
    attachments.set(id, dotted(address));
    changed();
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

  /** Nothing has come out of what was never opened: what sleeps at its address may go on with the next. */
  async function detach(id: string, reservation = closed.get(id)): Promise<void> {
    const address = addresses.get(id);
    addresses.delete(id);
    prepared.delete(id);
    closed.delete(id);
    if (attachments.delete(id)) changed();
    await removeNetwork(id);
    if (address === undefined) return;
    if (reservation === undefined) taken.delete(address);
    else await giveBack(reservations.keep(reservation, address));
  }

  /** What still leads to an address from this machine must not reach whoever has it next. No route leads there now, so that not even its reset does. */
  async function giveBack(address: number | undefined): Promise<void> {
    if (address === undefined) return;
    await execute('ss', ['--kill', '--tcp', 'dst', dotted(address)]).catch(() => {});
    taken.delete(address);
  }

  async function removeNetwork(id: string): Promise<void> {
    // The pair goes with the namespace, but only later: the name must be free when this returns.
    await execute('ip', ['link', 'delete', linkOf(id)]).catch(() => {});
    if (existsSync(pathOf(id))) await execute('ip', ['netns', 'delete', namespaceOf(id)]);
  }

  /** Script that makes namespace and pair with the address inside; what was there of them is gone when this resolves. */
  async function making(id: string, address: string, linesOnHost: string[]): Promise<string> {
    const namespace = namespaceOf(id);
    const link = linkOf(id);
    if (existsSync(`/sys/class/net/${link}`) || existsSync(pathOf(id))) await removeNetwork(id);
    const host = [
      `netns add ${namespace}`,
      `link add ${link} type veth peer name eth0 address ${hardwareAddress(id)} netns ${namespace}`,
      `addr add ${gateway}/32 dev ${link}`,
      ...linesOnHost,
    ];
    const inside = [
      // Until the sandbox's own stack has taken the address off, the system's would reset whatever sleeps and is heard of again.
      'rule add pref 1 iif eth0 blackhole',
      'rule add pref 2 lookup local',
      'rule del pref 0',
      'link set lo up',
      `addr add ${address}/32 dev eth0`,
      'link set eth0 up',
      `route add ${gateway}/32 dev eth0`,
      ...(routeOut ? [`route add default via ${gateway} dev eth0`] : []),
    ];
    return ['set -e', batch(host), batch(inside, namespace)].join('\n');
  }

  /** What lets a sandbox be reached. */
  function opening(id: string, address: string): string[] {
    const link = linkOf(id);
    return [
      `link set ${link} up`,
      `route replace ${address}/32 dev ${link} src ${gateway}`,
      // Nobody has to be asked for it, as nobody would answer before the sandbox runs.
      `neigh replace ${address} lladdr ${hardwareAddress(id)} dev ${link} nud permanent`,
    ];
  }

  /** The new address first: routes go with the last one. */
  function readdressing(id: string, before: string, address: string): string {
    return batch([`addr add ${address}/32 dev eth0`, `addr del ${before}/32 dev eth0`], namespaceOf(id));
  }

  /** @throws Error with what the tool said; nothing of the network is left then */
  async function run(id: string, script: string): Promise<void> {
    const { exitCode, stderr } = await shell.run(script, ATTACH_TIMEOUT_MS);
    if (exitCode === 0) return;
    await detach(id);
    throw new Error(`could not make the network of container ${id}: ${stderr.trim() || `exit code ${exitCode}`}`);
  }

  return {
    attach: async (id, preferredAddress, reservation, later = false) => {
      const reserved = reservation === undefined ? undefined : reservations.take(reservation);
      if (reserved !== undefined) taken.delete(reserved);
      const address = dotted(choose(id, reserved === undefined ? preferredAddress : dotted(reserved)));
      const inside = prepared.get(id);
      prepared.delete(id);
      closed.delete(id);
      const attachment = { namespacePath: pathOf(id), address, wasReserved: reserved !== undefined };
      if (inside === undefined) {
        const script = await making(id, address, opening(id, address));
        if (later) return { ...attachment, making: script };
        await run(id, script);
      } else {
        closed.set(id, reserved === undefined ? undefined : reservation);
        if (inside !== address) await run(id, readdressing(id, inside, address));
      }
      return attachment;
    },
    open: async (id, unless) => {
      if (!closed.has(id)) return;
      await delay(OPEN_AFTER_MS);
      if (unless?.aborted === true) return;
      const address = attachments.get(id);
      if (!closed.delete(id) || address === undefined) return;
      const { exitCode, stderr } = await shell.run(batch(opening(id, address)), ATTACH_TIMEOUT_MS);
      if (exitCode !== 0) throw new Error(`could not open the network of container ${id}: ${stderr.trim()}`);
    },
    prepare: async (id, likelyAddress) => {
      // The host's end stays down: nothing leads here, whoever has the address meanwhile.
      await run(id, await making(id, likelyAddress, []));
      prepared.set(id, likelyAddress);
      return { namespacePath: pathOf(id), address: likelyAddress };
    },
    detach,
    reserve: (reservation, address) => {
      const value = numeric(address);
      if (value === undefined || taken.has(value)) return;
      taken.add(value);
      giveBack(reservations.keep(reservation, value));
    },
    release: (reservation) => giveBack(reservations.take(reservation)),
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
      if (value === undefined) return;
      assign(id, value);
      // An engine that was killed may not have come to it.
      closed.set(id, undefined);
    },
    attachments: () => attachments,
    onChange: (listener) => {
      listeners.push(listener);
    },
    close: async () => {
      // What is for a sandbox that is gone must never leave this machine by its default route: somebody there might even answer.
      await execute('ip', ['route', 'replace', 'unreachable', blockOf(subnet)]);
      await execute('ip', ['route', 'delete', 'unreachable', blockOf(subnet)]).catch(() => {});
      if (routeOut) await execute('ip', ['address', 'delete', `${gateway}/32`, 'dev', 'lo']).catch(() => {});
    },
  };
}

/** Of the sandbox's end of its link: locally administered, and the container's id. */
function hardwareAddress(id: string): string {
  return ['02', ...(id.match(/../g) ?? [])].slice(0, 6).join(':');
}

/** Script of shell that does these lines of `ip` at once, in a namespace or on the host. */
function batch(lines: string[], namespace?: string): string {
  const where = namespace === undefined ? '' : `-n ${namespace} `;
  return `ip ${where}-batch - <<'LINES'\n${lines.join('\n')}\nLINES`;
}
