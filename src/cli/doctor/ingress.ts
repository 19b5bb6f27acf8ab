import {
  matchesLabels,
  type NetworkPolicy,
  type NetworkPolicyPeer,
  type NetworkPolicyPort,
  type PodSpec,
} from '../../kubernetes/index.ts';
import { containsBlock, parseCidr } from '../../router/policy/cidr.ts';

/** Who wants in: a pod of the router. */
export interface Caller {
  namespace: string;
  namespaceLabels: Readonly<Record<string, string>>;
  labels: Readonly<Record<string, string>>;
  address?: string;
}

/** Whether a policy decides who comes in; that is what a policy without types does (networking.k8s.io/v1). */
export function restrictsIngress({ spec }: NetworkPolicy): boolean {
  return spec.policyTypes === undefined || spec.policyTypes.includes('Ingress');
}

/** What a policy does about a caller: `port` means that it lets the caller in, but elsewhere. Policies add up: one that lets in is enough. */
export function judgeIngress(
  policy: NetworkPolicy,
  caller: Caller,
  port: number,
  target: PodSpec,
): 'in' | 'port' | 'out' {
  const namespace = policy.metadata.namespace ?? '';
  const rules = (policy.spec.ingress ?? []).filter(
    ({ from = [] }) => from.length === 0 || from.some((peer) => isPeer(peer, caller, namespace)),
  );
  if (rules.some(({ ports = [] }) => ports.length === 0 || ports.some((entry) => isPort(entry, port, target))))
    return 'in';
  return rules.length > 0 ? 'port' : 'out';
}

function isPeer(peer: NetworkPolicyPeer, caller: Caller, policyNamespace: string): boolean {
  if (peer.ipBlock !== undefined) return caller.address !== undefined && isInBlock(peer.ipBlock, caller.address);
  const rightNamespace =
    peer.namespaceSelector === undefined
      ? caller.namespace === policyNamespace
      : matchesLabels(peer.namespaceSelector, caller.namespaceLabels);
  return rightNamespace && (peer.podSelector === undefined || matchesLabels(peer.podSelector, caller.labels));
}

function isInBlock({ cidr, except = [] }: { cidr: string; except?: string[] }, address: string): boolean {
  const host = parseCidr(address);
  const contains = (text: string) => {
    const block = parseCidr(text);
    return host !== undefined && block !== undefined && containsBlock(block, host);
  };
  return contains(cidr) && !except.some(contains);
}

function isPort({ protocol = 'TCP', port, endPort }: NetworkPolicyPort, wanted: number, target: PodSpec): boolean {
  if (protocol !== 'TCP') return false;
  if (port === undefined) return true;
  if (typeof port === 'number') return wanted >= port && wanted <= (endPort ?? port);
  return target.containers.some(({ ports = [] }) =>
    ports.some(({ name, containerPort }) => name === port && containerPort === wanted),
  );
}
