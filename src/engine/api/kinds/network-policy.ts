import { type ApiObject, at, items } from '../object.ts';
import { labelSelector, rootSchema } from '../schema/metadata.ts';
import { integer, intOrString, list, object, required, type Schema, string } from '../schema/schema.ts';
import { ageColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';
import { networkRuleErrors } from './network-rules.ts';

const peers = (description: string) =>
  list(
    description,
    object('Who is at the other end.', {
      podSelector: labelSelector,
      namespaceSelector: labelSelector,
      ipBlock: object('A range of addresses.', {
        cidr: required(string('The range.')),
        except: list('Ranges left out.', { type: 'string' }),
      }),
    }),
  );

const ports = list(
  'Ports; all by default.',
  object('Ports.', {
    protocol: { type: 'string', enum: ['TCP', 'UDP', 'SCTP'], description: 'Protocol.', default: 'TCP' },
    port: intOrString('Number or name of the port.'),
    endPort: integer('Last number of a range.', { minimum: 1, maximum: 65535 }),
  }),
);

/** Schema of ingress rules. */
export const ingressRules: Schema = list(
  'What may come in.',
  object('A rule.', { from: peers('From whom; anyone by default.'), ports }),
);
/** Schema of egress rules. */
export const egressRules: Schema = list(
  'What may go out.',
  object('A rule.', { to: peers('To whom; anyone by default.'), ports }),
);

/** networking.k8s.io/v1 NetworkPolicy. */
export const networkPolicy: Kind = {
  group: 'networking.k8s.io',
  plural: 'networkpolicies',
  singular: 'networkpolicy',
  kind: 'NetworkPolicy',
  shortNames: ['netpol'],
  namespaced: true,
  builtIn: true,
  status: false,
  generation: true,
  versions: [
    {
      version: 'v1',
      schema: rootSchema('What traffic Pods may have.', {
        spec: object('The policy.', {
          podSelector: { ...labelSelector, default: {} },
          policyTypes: list('Directions restricted.', { type: 'string', enum: ['Ingress', 'Egress'] }),
          ingress: ingressRules,
          egress: egressRules,
        }),
      }),
      columns: [nameColumn, { name: 'Pod-Selector', description: 'Which Pods.', value: selectorText }, ageColumn],
    },
  ],
  validate: (next) => networkRuleErrors(next, ['spec']),
  // As the real API server does: Ingress always, Egress where there are egress rules.
  prepareCreate(draft) {
    const spec = (draft.spec ?? {}) as Record<string, unknown>;
    spec.policyTypes ??= spec.egress === undefined ? ['Ingress'] : ['Ingress', 'Egress'];
    draft.spec = spec;
  },
};

function selectorText(object: ApiObject): string {
  const labels = Object.entries((at(object, 'spec', 'podSelector', 'matchLabels') ?? {}) as Record<string, string>).map(
    ([key, value]) => `${key}=${value}`,
  );
  const expressions = items(object, 'spec', 'podSelector', 'matchExpressions').map((entry) => {
    const { key, operator, values = [] } = entry as { key: string; operator: string; values?: string[] };
    if (operator === 'Exists') return key;
    return operator === 'DoesNotExist' ? `!${key}` : `${key} ${operator.toLowerCase()} (${values.join(',')})`;
  });
  return [...labels, ...expressions].join(',') || '<none>';
}
