import {
  CLAIM_UID_LABEL,
  CREATED_BY_LABEL,
  LAUNCH_TYPE_LABEL,
  nameHash,
  POD_NAME_ANNOTATION,
  POD_TEMPLATE_HASH_LABEL,
  type Sandbox,
  type SandboxClaim,
  type SandboxTemplate,
  TEMPLATE_HASH_LABEL,
  TEMPLATE_REF_ANNOTATION,
  TEMPLATE_REF_HASH_LABEL,
  TRACE_CONTEXT_ANNOTATION,
  WARM_POOL_LABEL,
} from '../../../kubernetes/index.ts';
import { ownerReferenceTo } from '../sandbox/ownership.ts';
import { blueprintOf } from '../template/blueprint.ts';
import { mergedVolumeClaims, withEnvironment } from './injection.ts';
import { podMetadataFor } from './pod-metadata.ts';

/** A Sandbox made for a claim, under the claim's name (contract section 2.7, cold start). @throws ClaimRejectedError */
export function sandboxForClaim(claim: SandboxClaim, template: SandboxTemplate): Sandbox {
  const { name, namespace } = claim.metadata;
  const { podTemplate, ...blueprint } = blueprintOf(template);
  const volumeClaimTemplates = mergedVolumeClaims(claim, template);
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: {
        ...withoutNulls(identityLabels(claim)),
        [LAUNCH_TYPE_LABEL]: 'cold',
        [TEMPLATE_REF_HASH_LABEL]: nameHash(template.metadata.name),
      },
      annotations: { [TEMPLATE_REF_ANNOTATION]: template.metadata.name, ...traceContext(claim) },
      ownerReferences: [ownerReferenceTo(claim)],
    },
    spec: {
      ...blueprint,
      ...(volumeClaimTemplates.length === 0 ? {} : { volumeClaimTemplates }),
      podTemplate: {
        metadata: podMetadataFor(claim, template),
        spec: withEnvironment(podTemplate.spec, claim, template),
      },
    },
  };
}

/**
 * The one patch by which a Sandbox leaves its pool for a claim (contract section 2.7): it holds only for the Sandbox exactly as it was seen.
 * The Pod stays: nothing of its spec is touched. @throws ClaimRejectedError InvalidMetadata
 */
export function adoptionPatch(claim: SandboxClaim, sandbox: Sandbox, template: SandboxTemplate): object {
  const { uid, resourceVersion } = sandbox.metadata;
  return {
    metadata: {
      uid,
      resourceVersion,
      labels: {
        [WARM_POOL_LABEL]: null,
        [TEMPLATE_HASH_LABEL]: null,
        [POD_TEMPLATE_HASH_LABEL]: null,
        [LAUNCH_TYPE_LABEL]: 'warm',
        [TEMPLATE_REF_HASH_LABEL]: nameHash(template.metadata.name),
        ...identityLabels(claim),
      },
      ownerReferences: [ownerReferenceTo(claim)],
      annotations: {
        [POD_NAME_ANNOTATION]: sandbox.metadata.annotations?.[POD_NAME_ANNOTATION] ?? sandbox.metadata.name,
        ...traceContext(claim),
      },
    },
    spec: { podTemplate: { metadata: podMetadataPatch(claim, sandbox, template) } },
  };
}

/** What a claim's Sandbox lacks or has too much of labels and pod metadata; undefined when nothing. @throws ClaimRejectedError InvalidMetadata */
export function metadataSyncPatch(
  claim: SandboxClaim,
  sandbox: Sandbox,
  template: SandboxTemplate,
): object | undefined {
  const { uid, labels: current = {} } = sandbox.metadata;
  const wanted = { ...identityLabels(claim), [TEMPLATE_REF_HASH_LABEL]: nameHash(template.metadata.name) };
  const labels = Object.fromEntries(Object.entries(wanted).filter(([key, value]) => (current[key] ?? null) !== value));
  const metadata = podMetadataPatch(claim, sandbox, template);
  const changes = [labels, metadata.labels, metadata.annotations].some((part) => Object.keys(part).length > 0);
  return changes ? { metadata: { uid, labels }, spec: { podTemplate: { metadata } } } : undefined;
}

function podMetadataPatch(claim: SandboxClaim, sandbox: Sandbox, template: SandboxTemplate) {
  const wanted = podMetadataFor(claim, template);
  const { labels, annotations } = sandbox.spec.podTemplate.metadata ?? {};
  return { labels: mapPatch(labels, wanted.labels), annotations: mapPatch(annotations, wanted.annotations) };
}

/** A merge patch that turns one map into another. */
function mapPatch(before: Record<string, string> = {}, after: Record<string, string>): Record<string, string | null> {
  const changed = Object.entries(after).filter(([key, value]) => before[key] !== value);
  const removed = Object.keys(before).filter((key) => after[key] === undefined);
  return Object.fromEntries([...changed, ...removed.map((key) => [key, null])]);
}

/** Labels that say whose a Sandbox is; null where there is nothing to say. */
function identityLabels({ metadata }: SandboxClaim): Record<string, string | null> {
  return {
    [CLAIM_UID_LABEL]: metadata.uid ?? '',
    [CREATED_BY_LABEL]: metadata.labels?.[CREATED_BY_LABEL] || null,
  };
}

function withoutNulls(labels: Record<string, string | null>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter((entry): entry is [string, string] => entry[1] !== null));
}

function traceContext({ metadata }: SandboxClaim): Record<string, string> {
  const context = metadata.annotations?.[TRACE_CONTEXT_ANNOTATION];
  return context === undefined ? {} : { [TRACE_CONTEXT_ANNOTATION]: context };
}
