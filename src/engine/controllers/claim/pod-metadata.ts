import {
  CLAIM_UID_LABEL,
  CREATED_BY_LABEL,
  nameHash,
  type PodTemplate,
  SAFE_TO_EVICT_ANNOTATION,
  type SandboxClaim,
  type SandboxTemplate,
  TEMPLATE_REF_HASH_LABEL,
} from '../../../kubernetes/index.ts';
import { ClaimRejectedError } from './rejection.ts';

/** Domains whose labels a claim may set unless configured otherwise (contract section 2.7). */
export const DEFAULT_LABEL_DOMAINS: readonly string[] = ['sandbox.users.io'];

/** Domains of the system: no claim may annotate in them. */
const RESTRICTED_DOMAINS = ['kubernetes.io', 'k8s.io', 'agents.x-k8s.io'];
const NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const DOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** @throws ClaimRejectedError InvalidMetadata for keys and values that no claim may set */
export function checkPodMetadata(
  { spec: { additionalPodMetadata } }: SandboxClaim,
  allowedDomains: readonly string[],
): void {
  const { labels = {}, annotations = {} } = additionalPodMetadata ?? {};
  for (const [key, value] of Object.entries(labels)) {
    const problem = labelProblem(key, value, allowedDomains);
    if (problem !== undefined) throw invalid(`failed to validate label "${key}": ${problem}`);
  }
  for (const key of Object.keys(annotations)) {
    const problem = annotationProblem(key);
    if (problem !== undefined) throw invalid(`failed to validate annotation "${key}": ${problem}`);
  }
}

/**
 * Metadata of the podTemplate of a claim's Sandbox: the template's, who it belongs to, and what the claim adds.
 * @throws ClaimRejectedError InvalidMetadata where the claim would change a value of the template
 */
export function podMetadataFor(
  claim: SandboxClaim,
  template: SandboxTemplate,
): Required<NonNullable<PodTemplate['metadata']>> {
  const { labels = {}, annotations = {} } = template.spec.podTemplate.metadata ?? {};
  const added = claim.spec.additionalPodMetadata ?? {};
  const creator = claim.metadata.labels?.[CREATED_BY_LABEL];
  const { [CREATED_BY_LABEL]: _, ...kept } = labels;
  const own = {
    ...kept,
    [CLAIM_UID_LABEL]: claim.metadata.uid ?? '',
    [TEMPLATE_REF_HASH_LABEL]: nameHash(template.metadata.name),
    ...(creator ? { [CREATED_BY_LABEL]: creator } : {}),
  };
  checkClash('label', own, added.labels);
  checkClash('annotation', annotations, added.annotations);
  return { labels: { ...own, ...added.labels }, annotations: { ...annotations, ...added.annotations } };
}

function checkClash(kind: string, template: Record<string, string>, added: Record<string, string> = {}): void {
  for (const [key, value] of Object.entries(added))
    if (template[key] !== undefined && template[key] !== value)
      throw invalid(
        `metadata override conflict: ${kind} "${key}" is defined in template with value "${template[key]}", but claim requests "${value}"`,
      );
}

function labelProblem(key: string, value: string, allowedDomains: readonly string[]): string | undefined {
  if (key.toLowerCase() === 'app' && value.toLowerCase() === 'sandbox-router')
    return `restricted system label value: "${key}"="${value}" is not allowed in AdditionalPodMetadata`;
  const domain = domainOf(key);
  if (!isQualified(key)) return 'it is no valid label key';
  if (domain === undefined) return `it must have a domain prefix, for instance "${allowedDomains[0]}/${key}"`;
  if (!allowedDomains.some(within(domain))) return `label domain "${domain}" is not in the allowlist`;
  if (value !== '' && (value.length > 63 || !NAME.test(value))) return `"${value}" is no valid label value`;
  return undefined;
}

function annotationProblem(key: string): string | undefined {
  if (!isQualified(key)) return 'it is no valid annotation key';
  const domain = domainOf(key);
  if (domain === undefined || key === SAFE_TO_EVICT_ANNOTATION || !RESTRICTED_DOMAINS.some(within(domain)))
    return undefined;
  return `restricted system domain: "${key}" is not allowed in AdditionalPodMetadata`;
}

function domainOf(key: string): string | undefined {
  const slash = key.indexOf('/');
  return slash === -1 ? undefined : key.slice(0, slash).toLowerCase();
}

function within(domain: string): (parent: string) => boolean {
  return (parent) => domain === parent || domain.endsWith(`.${parent}`);
}

function isQualified(key: string): boolean {
  const parts = key.split('/');
  const name = parts.at(-1) ?? '';
  const [domain] = parts;
  if (parts.length > 2 || name.length > 63 || !NAME.test(name)) return false;
  return parts.length === 1 || (domain !== undefined && domain.length <= 253 && DOMAIN.test(domain));
}

function invalid(message: string): ClaimRejectedError {
  return new ClaimRejectedError('InvalidMetadata', `invalid metadata: ${message}`);
}
