import { rootSchema } from '../schema/metadata.ts';
import { choice, integer, object, required, string } from '../schema/schema.ts';
import { ageColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';

/** extensions.agents.x-k8s.io SandboxWarmPool (contract section 1.4). */
export const sandboxWarmPool: Kind = {
  group: 'extensions.agents.x-k8s.io',
  plural: 'sandboxwarmpools',
  singular: 'sandboxwarmpool',
  kind: 'SandboxWarmPool',
  shortNames: ['swp'],
  namespaced: true,
  builtIn: false,
  status: true,
  scale: { specReplicas: 'replicas', statusReplicas: 'replicas', statusSelector: 'selector' },
  versions: [
    {
      version: 'v1beta1',
      schema: rootSchema('Keeps sandboxes ready for claims.', {
        spec: required(
          object('The pool as it is to be.', {
            replicas: integer('Sandboxes kept ready.', { minimum: 0, default: 1 }),
            sandboxTemplateRef: required(
              object('The blueprint.', { name: required(string('Name of the template.', { minLength: 1 })) }),
            ),
            updateStrategy: object('What happens to ready sandboxes when the blueprint changes.', {
              type: choice('Whether they are replaced at once.', ['Recreate', 'OnReplenish'], 'OnReplenish'),
            }),
          }),
        ),
        status: object('The pool as it is.', {
          replicas: integer('Sandboxes there are.'),
          readyReplicas: integer('Sandboxes that are ready.'),
          selector: string("Selects the pool's sandboxes."),
          observedGeneration: integer('Generation seen.', { format: 'int64' }),
        }),
      }),
      columns: [
        nameColumn,
        fieldColumn('Ready', ['status', 'readyReplicas'], 'Sandboxes that are ready.', { type: 'integer' }),
        fieldColumn('Desired', ['spec', 'replicas'], 'Sandboxes wanted.', { type: 'integer' }),
        ageColumn,
      ],
    },
  ],
};
