import {
  type NetworkPolicy,
  nameHash,
  type SandboxTemplate,
  TEMPLATE_REF_HASH_LABEL,
} from '../../../kubernetes/index.ts';
import { ownerReferenceTo } from '../sandbox/ownership.ts';

/** Networks that the default policy keeps sandboxes from: private ones, and link-local with its metadata servers. */
const CLOSED_IPV4 = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16'];
const CLOSED_IPV6 = ['fc00::/7', 'fe80::/10'];
/** Namespace in which Agent Sandbox's own router runs. */
const ROUTER_NAMESPACE = 'agent-sandbox-system';

const DEFAULT_RULES: Pick<NetworkPolicy['spec'], 'ingress' | 'egress'> = {
  ingress: [
    {
      from: [
        {
          podSelector: { matchLabels: { app: 'sandbox-router' } },
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': ROUTER_NAMESPACE } },
        },
      ],
    },
  ],
  egress: [
    {
      to: [{ ipBlock: { cidr: '0.0.0.0/0', except: CLOSED_IPV4 } }, { ipBlock: { cidr: '::/0', except: CLOSED_IPV6 } }],
    },
  ],
};

/** Name of the NetworkPolicy of a template. */
export function networkPolicyName(template: SandboxTemplate): string {
  return `${template.metadata.name}-network-policy`;
}

/** NetworkPolicy of a template's sandboxes (contract section 2.9); undefined where the template leaves that to others. */
export function networkPolicyFor(template: SandboxTemplate): NetworkPolicy | undefined {
  const { networkPolicyManagement, networkPolicy } = template.spec;
  if (networkPolicyManagement === 'Unmanaged') return undefined;
  const { namespace, name } = template.metadata;
  // A list that is left out denies, as an empty one does: both directions are named in policyTypes.
  const rules = networkPolicy ?? DEFAULT_RULES;
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: {
      name: networkPolicyName(template),
      ...(namespace === undefined ? {} : { namespace }),
      ownerReferences: [ownerReferenceTo(template)],
    },
    spec: {
      podSelector: { matchLabels: { [TEMPLATE_REF_HASH_LABEL]: nameHash(name) } },
      policyTypes: ['Ingress', 'Egress'],
      ...((rules.ingress ?? []).length === 0 ? {} : { ingress: rules.ingress ?? [] }),
      ...((rules.egress ?? []).length === 0 ? {} : { egress: rules.egress ?? [] }),
    },
  };
}
