import { nameHash, type PodSpec, type Sandbox, type SandboxTemplate } from '../../../kubernetes/index.ts';

/** Nameservers of sandboxes whose default NetworkPolicy keeps them from the cluster's DNS (contract section 2.2). */
const PUBLIC_NAMESERVERS = ['8.8.8.8', '1.1.1.1'];

/** What a Sandbox made from a template starts with: the template's own, hardened (contract section 2.2). */
export function blueprintOf({ spec }: SandboxTemplate): Sandbox['spec'] {
  const { podTemplate, volumeClaimTemplates, service } = spec;
  return {
    podTemplate: { ...podTemplate, spec: hardened(podTemplate.spec, hasDefaultPolicy({ spec })) },
    ...(volumeClaimTemplates === undefined ? {} : { volumeClaimTemplates }),
    ...(service === undefined ? {} : { service }),
  };
}

/** Hash by which a pool knows that its template changed: of everything that reaches a Sandbox. */
export function blueprintHash({ spec }: SandboxTemplate): string {
  const { podTemplate, volumeClaimTemplates, service } = spec;
  return nameHash(canonicalJson({ podTemplate, volumeClaimTemplates, service }));
}

/** Hash of the Pod's part alone, for the deprecated label. */
export function podTemplateHash({ spec }: SandboxTemplate): string {
  return nameHash(canonicalJson(spec.podTemplate));
}

/** Whether the controller makes a NetworkPolicy of its own rules for a template. */
export function hasDefaultPolicy({ spec }: Pick<SandboxTemplate, 'spec'>): boolean {
  return spec.networkPolicyManagement !== 'Unmanaged' && spec.networkPolicy === undefined;
}

function hardened(spec: PodSpec, publicDns: boolean): PodSpec {
  return {
    ...spec,
    automountServiceAccountToken: spec.automountServiceAccountToken ?? false,
    ...(publicDns && (spec.dnsPolicy ?? '') === ''
      ? { dnsPolicy: 'None', dnsConfig: { nameservers: PUBLIC_NAMESERVERS } }
      : {}),
  };
}

/** JSON with sorted keys: servers give the same object back in any order. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([left], [right]) => (left < right ? -1 : 1)))
      : part,
  );
}
