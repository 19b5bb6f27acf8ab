import { type LabelSelector, matchesLabels } from '../../kubernetes/label-selector.ts';
import type { NetworkPolicy } from '../../kubernetes/types.ts';
import { type CidrBlock, containsBlock, intersectBlocks, parseCidr } from './cidr.ts';

/** One peer of an egress rule (networking.k8s.io/v1). */
export interface EgressPeer {
  podSelector?: LabelSelector;
  namespaceSelector?: LabelSelector;
  ipBlock?: { cidr: string; except?: string[] };
}

/** What egress verification needs of a NetworkPolicy. */
export interface EgressPolicy {
  name: string;
  namespace: string;
  podSelector: LabelSelector;
  /** As the object has it; without it, Egress counts only where egress rules are given (Kubernetes' own default). */
  policyTypes?: string[];
  egress?: { to?: EgressPeer[] }[];
}

/** What an egress class promises about the packets of its pods. */
export interface EgressPromise {
  /** Whether pods and namespaces may be named as peers. */
  clusterPeers: boolean;
  /** Address blocks that rules may name; anything within them counts. */
  allowed: string[];
  /** Blocks that must never be reachable, also inside an allowed one. */
  never: string[];
}

/** Private, link-local (which carries the cloud metadata service) and loopback blocks: never the internet. */
const INTERNAL_BLOCKS = [
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '169.254.0.0/16',
  '127.0.0.0/8',
  'fc00::/7',
  'fe80::/10',
  '::1/128',
];

/** Blocks that upstream's default NetworkPolicy excepts (contract section 2.9): what `internet` insists on. */
const DEFAULT_POLICY_EXCEPTS = [
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '169.254.0.0/16',
  'fc00::/7',
  'fe80::/10',
];

/** The built-in classes. `restricted` may reach named pods and namespaces and private blocks, never link-local and never the open internet. */
export const BUILT_IN_PROMISES: Readonly<Record<string, EgressPromise>> = {
  none: { clusterPeers: false, allowed: [], never: [...INTERNAL_BLOCKS] },
  restricted: {
    clusterPeers: true,
    allowed: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
    never: ['169.254.0.0/16', 'fe80::/10'],
  },
  internet: { clusterPeers: false, allowed: ['0.0.0.0/0', '::/0'], never: DEFAULT_POLICY_EXCEPTS },
};

/** Whether the cluster's policies hold a pod to its class; `reason` names the policy and the rule that breaks the promise. */
export type EgressVerdict = { enforced: true } | { enforced: false; reason: string };

/**
 * A label that nobody enforces is no isolation: the class counts only if at least one policy selects the pod for Egress, and everything that the
 * selecting policies allow together (rules add up) lies within the promise. In doubt (a block that can't be parsed, exceptions that only add
 * up piecewise) the verdict is "not enforced".
 */
export function verifyEgress(
  promise: EgressPromise,
  pod: { namespace: string; labels: Readonly<Record<string, string>> },
  policies: Iterable<EgressPolicy>,
): EgressVerdict {
  let selected = false;
  for (const policy of policies) {
    if (
      policy.namespace !== pod.namespace ||
      !restrictsEgress(policy) ||
      !matchesLabels(policy.podSelector, pod.labels)
    )
      continue;
    selected = true;
    for (const [index, rule] of (policy.egress ?? []).entries()) {
      const problem = brokenBy(promise, rule.to);
      if (problem !== undefined)
        return { enforced: false, reason: `NetworkPolicy ${policy.name}, egress rule ${index + 1}: ${problem}` };
    }
  }
  return selected
    ? { enforced: true }
    : { enforced: false, reason: 'no NetworkPolicy that restricts egress selects the pod' };
}

function restrictsEgress(policy: EgressPolicy): boolean {
  return policy.policyTypes === undefined
    ? policy.egress !== undefined && policy.egress.length > 0
    : policy.policyTypes.includes('Egress');
}

/** What makes a rule's peers break the promise, or undefined. A rule without peers allows every destination. */
function brokenBy(promise: EgressPromise, peers: EgressPeer[] | undefined): string | undefined {
  if (peers === undefined || peers.length === 0) return 'it names no destination, so it allows all of them';
  for (const peer of peers) {
    if (peer.ipBlock === undefined) {
      if (!promise.clusterPeers) return 'it allows pods of the cluster';
      continue;
    }
    const block = parseCidr(peer.ipBlock.cidr);
    if (block === undefined) return `${peer.ipBlock.cidr} is no address block`;
    const excepted = (peer.ipBlock.except ?? []).flatMap((text) => parseCidr(text) ?? []);
    const problem = blockBroken(promise, block, excepted, peer.ipBlock.cidr);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function blockBroken(
  promise: EgressPromise,
  block: CidrBlock,
  excepted: CidrBlock[],
  text: string,
): string | undefined {
  if (!promise.allowed.some((allowed) => containsBlock(known(allowed), block)))
    return `it allows ${text}, which the class does not`;
  for (const never of promise.never) {
    const common = intersectBlocks(known(never), block);
    if (common !== undefined && !excepted.some((exception) => containsBlock(exception, common)))
      return `it allows ${text} without the exception ${never}`;
  }
  return undefined;
}

function known(text: string): CidrBlock {
  const block = parseCidr(text);
  if (block === undefined) throw new TypeError(`not an address block: ${text}`);
  return block;
}

/** What the judgement looks at in a NetworkPolicy object. */
export function egressPolicyOf({ metadata, spec }: NetworkPolicy): EgressPolicy {
  return {
    name: metadata.name,
    namespace: metadata.namespace ?? '',
    podSelector: spec.podSelector,
    ...(spec.policyTypes === undefined ? {} : { policyTypes: spec.policyTypes }),
    ...(spec.egress === undefined ? {} : { egress: spec.egress }),
  };
}
