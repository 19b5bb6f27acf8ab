import { text } from '../object.ts';
import { conditions, rootSchema } from '../schema/metadata.ts';
import { list, object, string } from '../schema/schema.ts';
import { ageColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';

/** v1 Namespace. Its content goes first when it is deleted. */
export const namespace: Kind = {
  group: '',
  plural: 'namespaces',
  singular: 'namespace',
  kind: 'Namespace',
  shortNames: ['ns'],
  namespaced: false,
  builtIn: true,
  status: true,
  deleteCollection: false,
  names: 'label',
  versions: [
    {
      version: 'v1',
      schema: rootSchema('A scope for names.', {
        spec: object('The namespace as it is to be.', {
          finalizers: list('What must be done before it disappears.', { type: 'string' }),
        }),
        status: object('The namespace as it is.', { phase: string('Active or Terminating.'), conditions }),
      }),
      columns: [nameColumn, fieldColumn('Status', ['status', 'phase'], 'Active or Terminating.'), ageColumn],
    },
  ],
  selectableFields: { 'status.phase': (object) => text(object, 'status', 'phase') },
  prepareCreate(draft) {
    draft.metadata.labels = { ...draft.metadata.labels, 'kubernetes.io/metadata.name': draft.metadata.name };
    draft.spec = { finalizers: ['kubernetes'] };
    draft.status = { phase: 'Active' };
  },
};
