import {
  matchesLabels,
  type NetworkPolicy,
  type NetworkPolicyPeer,
  type NetworkPolicyPort,
} from '../../../kubernetes/index.ts';
import {
  blockContains,
  canonicalBlock,
  type EgressName,
  numeric,
  type OutsideBlock,
  type PortRange,
  type SandboxRules,
  type TrafficRule,
} from '../../network/index.ts';

type Labels = Readonly<Record<string, string>>;

/** A Pod as policies see it. */
export interface PolicyPod {
  namespace: string;
  labels: Labels;
  address: string;
  ports: readonly NamedPort[];
}

/** A declared port that rules may name. */
export interface NamedPort {
  name?: string;
  containerPort: number;
  protocol?: 'TCP' | 'UDP' | 'SCTP';
}

/** Everything that the rules of a Pod follow from. */
export interface PolicyWorld {
  policies: readonly NetworkPolicy[];
  pods: readonly PolicyPod[];
  /** Labels of a namespace; its name is among them. */
  namespaceLabels(name: string): Labels;
}

/** What clusters call their DNS: a rule that lets a Pod reach it lets it resolve any name. */
export const DNS_POD: Omit<PolicyPod, 'address'> = {
  namespace: 'kube-system',
  labels: { 'k8s-app': 'kube-dns' },
  ports: [
    { name: 'dns', containerPort: 53, protocol: 'UDP' },
    { name: 'dns-tcp', containerPort: 53, protocol: 'TCP' },
  ],
};

/**
 * What a Pod may do by the NetworkPolicies that select it (networking.k8s.io/v1; rules add up). Stricter than Kubernetes in one point: a Pod that no policy
 * selects for Egress reaches nothing. `gateway` is the address of the DNS proxy.
 */
export function rulesOf(pod: PolicyPod, names: EgressName[], world: PolicyWorld, gateway: string): SandboxRules {
  const selecting = world.policies.filter(
    ({ metadata, spec }) => metadata.namespace === pod.namespace && matchesLabels(spec.podSelector, pod.labels),
  );
  const egressPolicies = selecting.filter((policy) => restricts(policy, 'Egress'));
  const ingressPolicies = selecting.filter((policy) => restricts(policy, 'Ingress'));
  const egress = egressPolicies.flatMap(({ spec }) =>
    (spec.egress ?? []).flatMap(({ to, ports }) => outgoing(to, ports, pod, world)),
  );
  const dns = { ...world, pods: [{ ...DNS_POD, address: gateway }] };
  const resolvesAnyName = egressPolicies.some(({ spec }) =>
    (spec.egress ?? []).some(({ to, ports }) =>
      outgoing(to, ports, pod, dns).some((rule) => reachesDns(rule, gateway)),
    ),
  );
  const ingress =
    ingressPolicies.length === 0
      ? undefined
      : ingressPolicies.flatMap(({ spec }) =>
          (spec.ingress ?? []).flatMap(({ from, ports }) => incoming(from, ports, pod, world)),
        );
  return { egress, ingress, names, resolvesAnyName };
}

function restricts({ spec }: NetworkPolicy, direction: 'Ingress' | 'Egress'): boolean {
  if (spec.policyTypes !== undefined) return spec.policyTypes.includes(direction);
  return direction === 'Ingress' || (spec.egress ?? []).length > 0;
}

/** Rules of one entry of `egress`. A named port is one of the Pod at the other end, so it means sandboxes only. */
function outgoing(
  to: NetworkPolicyPeer[] | undefined,
  ports: NetworkPolicyPort[] | undefined,
  pod: PolicyPod,
  world: PolicyWorld,
): TrafficRule[] {
  const peers = peersOf(to, pod.namespace, world);
  const rules: TrafficRule[] = [];
  const numbered = numberedPorts(ports);
  if (numbered === 'any' || numbered.length > 0) rules.push({ peers, ports: numbered });
  for (const { port, protocol = 'TCP' } of ports ?? []) {
    if (typeof port !== 'string') continue;
    const reachable =
      peers === 'anywhere' ? world.pods : world.pods.filter(({ address }) => peers.sandboxes.includes(address));
    for (const peer of reachable) {
      const range = namedPort(peer, port, protocol);
      if (range !== undefined) rules.push({ peers: { blocks: [], sandboxes: [peer.address] }, ports: [range] });
    }
  }
  return rules.filter(isSomething);
}

/** Rules of one entry of `ingress`. A named port is one of the Pod itself. */
function incoming(
  from: NetworkPolicyPeer[] | undefined,
  ports: NetworkPolicyPort[] | undefined,
  pod: PolicyPod,
  world: PolicyWorld,
): TrafficRule[] {
  const peers = peersOf(from, pod.namespace, world);
  const numbered = numberedPorts(ports);
  if (numbered === 'any') return [{ peers, ports: 'any' as const }].filter(isSomething);
  const named = (ports ?? []).flatMap(({ port, protocol = 'TCP' }) =>
    typeof port === 'string' ? (namedPort(pod, port, protocol) ?? []) : [],
  );
  return [{ peers, ports: [...numbered, ...named] }].filter(isSomething);
}

function isSomething({ peers, ports }: TrafficRule): boolean {
  const somebody = peers === 'anywhere' || peers.blocks.length > 0 || peers.sandboxes.length > 0;
  return somebody && (ports === 'any' || ports.length > 0);
}

function namedPort(pod: PolicyPod, name: string, protocol: PortRange['protocol']): PortRange | undefined {
  const declared = pod.ports.find((port) => port.name === name && (port.protocol ?? 'TCP') === protocol);
  return declared === undefined ? undefined : { protocol, first: declared.containerPort };
}

function numberedPorts(ports: NetworkPolicyPort[] | undefined): 'any' | PortRange[] {
  if (ports === undefined || ports.length === 0) return 'any';
  return ports.flatMap(({ port, endPort, protocol = 'TCP' }): PortRange[] => {
    if (port === undefined) return [{ protocol }];
    if (typeof port === 'string') return [];
    return [{ protocol, first: port, ...(endPort === undefined ? {} : { last: endPort }) }];
  });
}

/** An absent or empty list means everybody. A peer that can't be read, and IPv6, which sandboxes don't have, mean nobody. */
function peersOf(
  peers: NetworkPolicyPeer[] | undefined,
  ownNamespace: string,
  world: PolicyWorld,
): TrafficRule['peers'] {
  if (peers === undefined || peers.length === 0) return 'anywhere';
  const blocks: OutsideBlock[] = [];
  const sandboxes = new Set<string>();
  for (const { ipBlock, podSelector, namespaceSelector } of peers) {
    if (ipBlock !== undefined) {
      const cidr = canonicalBlock(ipBlock.cidr);
      if (cidr === undefined) continue;
      const except = (ipBlock.except ?? []).map(canonicalBlock);
      // An exception that can't be read must not open what it was to close; IPv6 ones close nothing here.
      if ((ipBlock.except ?? []).some((text, index) => except[index] === undefined && !text.includes(':'))) continue;
      blocks.push({ cidr, except: outermost(except.filter((block) => block !== undefined)) });
      continue;
    }
    if (podSelector === undefined && namespaceSelector === undefined) continue;
    for (const pod of world.pods) {
      const namespaceFits =
        namespaceSelector === undefined
          ? pod.namespace === ownNamespace
          : matchesLabels(namespaceSelector, world.namespaceLabels(pod.namespace));
      if (namespaceFits && matchesLabels(podSelector ?? {}, pod.labels)) sandboxes.add(pod.address);
    }
  }
  return { blocks, sandboxes: [...sandboxes].sort() };
}

/** Blocks that lie in none of the others: nftables takes no overlapping ones. */
function outermost(blocks: string[]): string[] {
  const size = (block: string) => Number(block.split('/')[1]);
  const sorted = blocks.toSorted((left, right) => size(left) - size(right));
  return sorted.filter(
    (block, index) =>
      !sorted.slice(0, index).some((larger) => blockContains(larger, numeric(block.split('/')[0] ?? '') ?? -1)),
  );
}

function reachesDns({ peers, ports }: TrafficRule, gateway: string): boolean {
  const reached =
    peers === 'anywhere' ||
    peers.sandboxes.includes(gateway) ||
    peers.blocks.some(
      ({ cidr, except }) =>
        blockContains(cidr, numeric(gateway) ?? -1) &&
        !except.some((block) => blockContains(block, numeric(gateway) ?? -1)),
    );
  if (!reached) return false;
  return (
    ports === 'any' ||
    ports.some(
      ({ protocol, first, last = first }) =>
        protocol === 'UDP' && (first === undefined || (first <= 53 && (last ?? first) >= 53)),
    )
  );
}
