import { isDeepStrictEqual } from 'node:util';
import { rootSchema } from '../schema/metadata.ts';
import { anyObject, required, string } from '../schema/schema.ts';
import { ageColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';

/** node.k8s.io/v1 RuntimeClass. */
export const runtimeClass: Kind = {
  group: 'node.k8s.io',
  plural: 'runtimeclasses',
  singular: 'runtimeclass',
  kind: 'RuntimeClass',
  namespaced: false,
  builtIn: true,
  status: false,
  versions: [
    {
      version: 'v1',
      schema: rootSchema('A way to run containers.', {
        handler: required(
          string('Name of the runtime.', { minLength: 1, maxLength: 63, pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$' }),
        ),
        overhead: anyObject('What running a Pod itself needs.'),
        scheduling: anyObject('Which nodes have it.'),
      }),
      columns: [nameColumn, fieldColumn('Handler', ['handler'], 'Name of the runtime.'), ageColumn],
    },
  ],
  validate: (next, previous) =>
    previous !== undefined && !isDeepStrictEqual(next.handler, previous.handler)
      ? [
          {
            field: 'handler',
            reason: 'FieldValueInvalid',
            message: `Invalid value: ${JSON.stringify(next.handler)}: field is immutable`,
          },
        ]
      : [],
};
