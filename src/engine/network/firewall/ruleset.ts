import { createHash } from 'node:crypto';
import { linkName, linkPrefix, tableName } from '../links.ts';
import type { OutsideBlock, PortRange, SandboxRules, TrafficRule } from './rules.ts';

/** What the rules of all sandboxes of an engine share. */
export interface RulesetOptions {
  engineTag: string;
  /** Address on the host's end of every link. */
  gateway: string;
  /** Block of all its sandboxes. */
  subnet: string;
  /** Port on which the DNS proxy listens at the gateway's address. */
  dnsPort: number;
}

/** A sandbox with its address and what it may do. */
export interface PlacedRules {
  address: string;
  rules: SandboxRules;
}

/**
 * Never reachable from a sandbox, whatever a policy says: this machine, link-local addresses with the metadata services, those of clouds that keep theirs
 * elsewhere, multicast and reserved addresses.
 */
export const NEVER = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '100.100.100.200/32',
  '168.63.129.16/32',
  '169.254.0.0/16',
  '192.0.0.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
] as const;

const REFUSE = 'reject with icmpx type admin-prohibited';

/**
 * The table without any sandbox in it: all of them may answer who called them, and nothing else. The verdict on packets to the machine itself falls before
 * destination NAT, so that a port which the machine publishes for a container is no way around. Chains of single sandboxes are jumped to: what they don't let
 * through comes back and is refused.
 */
export function baseRuleset({ engineTag, gateway, subnet, dnsPort }: RulesetOptions): string {
  const links = `"${linkPrefix(engineTag)}*"`;
  const dns = 'meta l4proto { tcp, udp } th dport';
  return `
table inet ${tableName(engineTag)}
delete table inet ${tableName(engineTag)}
table inet ${tableName(engineTag)} {
  set members { type ifname . ipv4_addr; }
  map egress { type ifname : verdict; }
  map ingress { type ifname : verdict; }
  chain arriving {
    type filter hook prerouting priority mangle; policy accept;
    iifname != ${links} accept
    meta nfproto != ipv4 drop
    ct state invalid drop
    ct state related meta l4proto icmp accept
    ct state established ct direction reply accept
    iifname . ip saddr != @members drop
    ip daddr ${gateway} ${dns} 53 accept
    fib daddr type != unicast ${REFUSE}
    ip daddr { ${NEVER.join(', ')} } ${REFUSE}
  }
  chain to_proxy {
    type nat hook prerouting priority dstnat; policy accept;
    iifname ${links} ip daddr ${gateway} ${dns} 53 redirect to :${dnsPort}
  }
  chain input {
    type filter hook input priority -10; policy accept;
    iifname != ${links} accept
    ct state established,related ct direction reply accept
    ct state related meta l4proto icmp accept
    ip daddr ${gateway} ${dns} ${dnsPort} accept
    drop
  }
  chain forward {
    type filter hook forward priority -10; policy accept;
    iifname ${links} goto leaving
    oifname ${links} goto entering
  }
  chain leaving {
    ct state established,related ct direction reply accept
    ct state related meta l4proto icmp accept
    iifname vmap @egress
    ${REFUSE}
  }
  chain entering {
    ct state established,related ct direction reply accept
    ct state related meta l4proto icmp accept
    oifname vmap @ingress
    ${REFUSE}
  }
  chain may_leave {
    oifname ${links} goto entering
    accept
  }
  chain masquerade_outside {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${subnet} oifname != ${links} masquerade
  }
}
`;
}

/** Commands that put a sandbox into the table. */
export function addSandbox({ engineTag }: RulesetOptions, id: string, { address, rules }: PlacedRules): string[] {
  const table = `inet ${tableName(engineTag)}`;
  const link = `"${linkName(engineTag, id)}"`;
  const chains = [
    `add chain ${table} egress_${id}`,
    `flush chain ${table} egress_${id}`,
    `add chain ${table} ingress_${id}`,
    `flush chain ${table} ingress_${id}`,
  ];
  const outgoing = [
    ...nameRules(id, rules),
    ...rules.egress.flatMap((rule) => matches(rule, 'daddr', 'oifname', engineTag)),
  ];
  const incoming =
    rules.ingress === undefined
      ? [`iifname "${linkPrefix(engineTag)}*"`]
      : rules.ingress.flatMap((rule) => matches(rule, 'saddr', 'iifname', engineTag));
  const sets = [
    `add set ${table} names_${id} { type ipv4_addr; flags timeout; }`,
    `add set ${table} name_ports_${id} { type ipv4_addr . inet_service; flags timeout; }`,
  ];
  return [
    ...(rules.names.length > 0 ? sets : []),
    ...chains,
    ...outgoing.map((match) => `add rule ${table} egress_${id} ${match} goto may_leave`),
    ...incoming.map((match) => `add rule ${table} ingress_${id} ${match} accept`),
    `add element ${table} members { ${link} . ${address} }`,
    `add element ${table} egress { ${link} : jump egress_${id} }`,
    `add element ${table} ingress { ${link} : jump ingress_${id} }`,
  ];
}

/** Commands that take a sandbox out again. What is in the table must be what {@link addSandbox} put there. */
export function removeSandbox({ engineTag }: RulesetOptions, id: string, { address, rules }: PlacedRules): string[] {
  const table = `inet ${tableName(engineTag)}`;
  const link = `"${linkName(engineTag, id)}"`;
  return [
    `delete element ${table} members { ${link} . ${address} }`,
    `delete element ${table} egress { ${link} : jump egress_${id} }`,
    `delete element ${table} ingress { ${link} : jump ingress_${id} }`,
    `flush chain ${table} egress_${id}`,
    `flush chain ${table} ingress_${id}`,
    `delete chain ${table} egress_${id}`,
    `delete chain ${table} ingress_${id}`,
    ...(rules.names.length > 0 ? [`delete set ${table} names_${id}`, `delete set ${table} name_ports_${id}`] : []),
  ];
}

/** An address that a name stands for now. */
export interface OpenAddress {
  address: string;
  port?: number | undefined;
  seconds: number;
}

/** Command that takes everything out. */
export function removeTable({ engineTag }: Pick<RulesetOptions, 'engineTag'>): string {
  const table = `inet ${tableName(engineTag)}`;
  return `add table ${table}\ndelete table ${table}\n`;
}

/** Commands that open addresses for a time; one that is open already gets the new time. */
export function openAddresses({ engineTag }: RulesetOptions, id: string, open: readonly OpenAddress[]): string[] {
  return open.flatMap(({ address, port, seconds }) => {
    const set = `inet ${tableName(engineTag)} ${port === undefined ? `names_${id}` : `name_ports_${id}`}`;
    const key = port === undefined ? address : `${address} . ${port}`;
    // Kernels before 6.14 keep the old time of an element that is added again.
    return [
      `add element ${set} { ${key} timeout ${seconds}s }`,
      `delete element ${set} { ${key} }`,
      `add element ${set} { ${key} timeout ${seconds}s }`,
    ];
  });
}

/**
 * Answers open addresses for a time; what was connected in that time goes on, as its mark tells. The mark stands for the list of names: with another list,
 * connections are cut.
 */
function nameRules(id: string, { names }: SandboxRules): string[] {
  if (names.length === 0) return [];
  const digest = createHash('sha256').update(JSON.stringify(names)).digest('hex').slice(0, 8);
  const mark = `0x${digest}`;
  return [
    `ct state established ct mark ${mark}`,
    `ip daddr @names_${id} ct mark set ${mark}`,
    `meta l4proto { tcp, udp } ip daddr . th dport @name_ports_${id} ct mark set ${mark}`,
  ];
}

/** The match expressions of a rule, one for each combination of peers and ports. */
function matches(rule: TrafficRule, side: 'daddr' | 'saddr', link: 'oifname' | 'iifname', engineTag: string): string[] {
  const links = `"${linkPrefix(engineTag)}*"`;
  const peers: string[] = [];
  if (rule.peers === 'anywhere') peers.push('');
  else {
    for (const block of rule.peers.blocks) peers.push(`${link} != ${links} ${blockMatch(block, side)}`);
    if (rule.peers.sandboxes.length > 0)
      peers.push(`${link} ${links} ip ${side} { ${rule.peers.sandboxes.toSorted().join(', ')} }`);
  }
  const ports = rule.ports === 'any' ? [''] : portMatches(rule.ports);
  return peers.flatMap((peer) => ports.map((port) => `${peer} ${port}`.trim()));
}

function blockMatch({ cidr, except }: OutsideBlock, side: 'daddr' | 'saddr'): string {
  const within = cidr.endsWith('/0') ? '' : `ip ${side} ${cidr} `;
  return except.length === 0 ? within : `${within}ip ${side} != { ${except.join(', ')} }`;
}

function portMatches(ranges: PortRange[]): string[] {
  const found: string[] = [];
  for (const protocol of ['TCP', 'UDP', 'SCTP'] as const) {
    const ofProtocol = ranges.filter((range) => range.protocol === protocol);
    const name = protocol.toLowerCase();
    if (ofProtocol.some(({ first }) => first === undefined)) found.push(`meta l4proto ${name}`);
    else if (ofProtocol.length > 0) found.push(`${name} dport { ${mergedRanges(ofProtocol).join(', ')} }`);
  }
  return found;
}

/** Ranges that overlap as one: nftables refuses sets whose elements do. */
function mergedRanges(ranges: PortRange[]): string[] {
  const merged: { first: number; last: number }[] = [];
  const sorted = ranges
    .map(({ first = 0, last = first }) => ({ first, last }))
    .toSorted((left, right) => left.first - right.first);
  for (const { first, last } of sorted) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else merged.push({ first, last });
  }
  return merged.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));
}
