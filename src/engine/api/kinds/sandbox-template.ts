import { rootSchema } from '../schema/metadata.ts';
import { podTemplate } from '../schema/pod-spec.ts';
import { boolean, choice, object, required } from '../schema/schema.ts';
import { volumeClaimTemplates } from '../schema/volumes.ts';
import { ageColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';
import { egressRules, ingressRules } from './network-policy.ts';
import { networkRuleErrors } from './network-rules.ts';
import { podTemplateErrors } from './pod-rules/index.ts';

/** extensions.agents.x-k8s.io SandboxTemplate (contract section 1.2). */
export const sandboxTemplate: Kind = {
  group: 'extensions.agents.x-k8s.io',
  plural: 'sandboxtemplates',
  singular: 'sandboxtemplate',
  kind: 'SandboxTemplate',
  shortNames: ['sandboxtemplate'],
  namespaced: true,
  builtIn: false,
  status: false,
  versions: [
    {
      version: 'v1beta1',
      schema: rootSchema('A blueprint of sandboxes.', {
        spec: required(
          object('The blueprint.', {
            podTemplate: required(podTemplate),
            volumeClaimTemplates,
            service: boolean('Whether a headless Service is made.'),
            networkPolicy: object('Traffic that the sandboxes may have; a strict default without it.', {
              ingress: ingressRules,
              egress: egressRules,
            }),
            networkPolicyManagement: choice('Whether a NetworkPolicy is made.', ['Managed', 'Unmanaged'], 'Managed'),
            envVarsInjectionPolicy: choice(
              'What claims may do to environment variables.',
              ['Allowed', 'Overrides', 'Disallowed'],
              'Disallowed',
            ),
            volumeClaimTemplatesPolicy: choice(
              'What claims may do to volumes.',
              ['Disallowed', 'Allowed', 'Overrides'],
              'Disallowed',
            ),
          }),
        ),
      }),
      columns: [nameColumn, ageColumn],
    },
  ],
  validate: (next, previous) => [
    ...podTemplateErrors(next, previous, ['spec', 'podTemplate']),
    ...networkRuleErrors(next, ['spec', 'networkPolicy']),
  ],
};
