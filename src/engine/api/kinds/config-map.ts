import { at } from '../object.ts';
import { rootSchema } from '../schema/metadata.ts';
import { boolean, mapOf, stringMap } from '../schema/schema.ts';
import { ageColumn, nameColumn } from './columns.ts';
import { dataErrors } from './data-rules.ts';
import type { Kind } from './kind.ts';

/** v1 ConfigMap. */
export const configMap: Kind = {
  group: '',
  plural: 'configmaps',
  singular: 'configmap',
  kind: 'ConfigMap',
  shortNames: ['cm'],
  namespaced: true,
  builtIn: true,
  status: false,
  versions: [
    {
      version: 'v1',
      schema: rootSchema('Settings as keys and values.', {
        data: stringMap('Values as text.'),
        binaryData: mapOf('Values as base64.', { type: 'string', format: 'byte' }),
        immutable: boolean('Whether the data can never change.'),
      }),
      columns: [
        nameColumn,
        {
          name: 'Data',
          description: 'Number of keys.',
          value: (object) => count(at(object, 'data')) + count(at(object, 'binaryData')),
        },
        ageColumn,
      ],
    },
  ],
  validate: (next, previous) => dataErrors(next, previous, ['data', 'binaryData']),
};

function count(data: unknown): number {
  return Object.keys(data ?? {}).length;
}
