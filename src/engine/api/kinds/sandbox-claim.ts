import { conditions, rootSchema, templateMetadata } from '../schema/metadata.ts';
import { choice, integer, list, object, required, string, time } from '../schema/schema.ts';
import { volumeClaimTemplates } from '../schema/volumes.ts';
import { ageColumn, conditionColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';

/** extensions.agents.x-k8s.io SandboxClaim (contract section 1.3). */
export const sandboxClaim: Kind = {
  group: 'extensions.agents.x-k8s.io',
  plural: 'sandboxclaims',
  singular: 'sandboxclaim',
  kind: 'SandboxClaim',
  shortNames: ['sandboxclaim'],
  namespaced: true,
  builtIn: false,
  status: true,
  versions: [
    {
      version: 'v1beta1',
      schema: rootSchema('Asks for a sandbox, warm if there is one.', {
        spec: required(
          object('What is asked for.', {
            warmPoolRef: required(
              object('The warm pool that gives the sandbox.', {
                name: required(string('Name of the pool.', { minLength: 1 })),
              }),
            ),
            lifecycle: object('When it ends.', {
              shutdownTime: time('When the claim expires.'),
              ttlSecondsAfterFinished: integer('Seconds that a finished claim stays.', { minimum: 0 }),
              shutdownPolicy: choice('What goes then.', ['Delete', 'DeleteForeground', 'Retain'], 'Retain'),
            }),
            additionalPodMetadata: templateMetadata,
            env: list(
              'Environment variables to add.',
              object('An environment variable.', {
                name: required(string('Name of the variable.', { minLength: 1 })),
                value: required(string('Its value.')),
                containerName: string('Container that gets it; the first by default.'),
              }),
            ),
            volumeClaimTemplates,
          }),
        ),
        status: object('What was given.', {
          conditions,
          sandbox: object('The sandbox.', {
            name: string('Its name.'),
            podIPs: list('Addresses of its Pod.', { type: 'string' }),
          }),
        }),
      }),
      columns: [
        nameColumn,
        conditionColumn('Ready', 'Ready', 'status', 'Whether the sandbox serves.'),
        fieldColumn('Sandbox', ['status', 'sandbox', 'name'], 'The sandbox.'),
        conditionColumn('Reason', 'Ready', 'reason', 'Why.'),
        ageColumn,
      ],
    },
  ],
};
