import type {
  Container,
  PodSpec,
  SandboxClaim,
  SandboxTemplate,
  VolumeClaimTemplate,
} from '../../../kubernetes/index.ts';
import { ClaimRejectedError } from './rejection.ts';

type ClaimVariable = NonNullable<SandboxClaim['spec']['env']>[number];

/** A Pod's spec with the variables of a claim (contract section 2.7). @throws ClaimRejectedError as the template's policy has it */
export function withEnvironment(spec: PodSpec, claim: SandboxClaim, template: SandboxTemplate): PodSpec {
  const variables = claim.spec.env ?? [];
  if (variables.length === 0) return spec;
  const policy = template.spec.envVarsInjectionPolicy ?? 'Disallowed';
  if (policy === 'Disallowed') throw rejected('environment variable injection is not allowed by the template policy');
  const [first] = spec.containers;
  const targetOf = ({ containerName }: ClaimVariable) => containerName || first?.name;
  const names = [...(spec.initContainers ?? []), ...spec.containers].map(({ name }) => name);
  const lost = variables.find((variable) => !names.includes(targetOf(variable) ?? ''));
  if (lost !== undefined)
    throw new ClaimRejectedError(
      'ReconcilerError',
      `Error seen: target container "${targetOf(lost)}" not found in template for environment variable "${lost.name}"`,
    );
  const inject = (container: Container) =>
    withVariables(
      container,
      variables.filter((variable) => targetOf(variable) === container.name),
      policy,
    );
  return {
    ...spec,
    containers: spec.containers.map(inject),
    ...(spec.initContainers === undefined ? {} : { initContainers: spec.initContainers.map(inject) }),
  };
}

function withVariables(container: Container, variables: ClaimVariable[], policy: 'Allowed' | 'Overrides'): Container {
  if (variables.length === 0) return container;
  if (policy === 'Allowed' && (container.envFrom ?? []).length > 0)
    throw rejected(
      `container "${container.name}" uses envFrom: whether a variable would override one of those can't be told`,
    );
  const env = [...(container.env ?? [])];
  for (const { name, value } of variables) {
    const index = env.findIndex((known) => known.name === name);
    if (index !== -1 && policy !== 'Overrides')
      throw new ClaimRejectedError(
        'ReconcilerError',
        `Error seen: environment variable override is not allowed by the template policy for variable "${name}"`,
      );
    env.splice(index === -1 ? env.length : index, index === -1 ? 0 : 1, { name, value });
  }
  return { ...container, env };
}

/** Storage of a claim's Sandbox: the template's and the claim's (contract section 2.7). @throws ClaimRejectedError VolumeClaimTemplatesError */
export function mergedVolumeClaims(claim: SandboxClaim, template: SandboxTemplate): VolumeClaimTemplate[] {
  const given = template.spec.volumeClaimTemplates ?? [];
  const asked = claim.spec.volumeClaimTemplates ?? [];
  checkNames(given, 'template');
  if (asked.length === 0) return given;
  checkNames(asked, 'claim');
  const policy = template.spec.volumeClaimTemplatesPolicy ?? 'Disallowed';
  if (policy === 'Disallowed') throw refused('volume claim templates are not allowed by the template policy');
  const overridden = given.find(({ metadata }) => asked.some((claimed) => claimed.metadata.name === metadata.name));
  if (policy === 'Allowed' && overridden !== undefined)
    throw refused(`cannot override template volume "${overridden.metadata.name}"`);
  const isGiven = ({ metadata }: VolumeClaimTemplate) => given.some((known) => known.metadata.name === metadata.name);
  return [
    ...given.map((known) => asked.find(({ metadata }) => metadata.name === known.metadata.name) ?? known),
    ...asked.filter((claimed) => !isGiven(claimed)),
  ];
}

function checkNames(templates: readonly VolumeClaimTemplate[], whose: string): void {
  const seen = new Set<string>();
  for (const { metadata } of templates) {
    if (!metadata?.name) throw refused(`${whose}: a volume claim template has no name`);
    if (seen.has(metadata.name)) throw refused(`${whose}: duplicate name "${metadata.name}"`);
    seen.add(metadata.name);
  }
}

function rejected(message: string): ClaimRejectedError {
  return new ClaimRejectedError('EnvVarsInjectionRejected', `environment variables rejected: ${message}`);
}

function refused(message: string): ClaimRejectedError {
  return new ClaimRejectedError('VolumeClaimTemplatesError', `invalid volume claim templates: ${message}`);
}
