import { rootSchema } from '../schema/metadata.ts';
import { integer, object, string, time } from '../schema/schema.ts';
import { ageColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';

/** coordination.k8s.io/v1 Lease. */
export const lease: Kind = {
  group: 'coordination.k8s.io',
  plural: 'leases',
  singular: 'lease',
  kind: 'Lease',
  namespaced: true,
  builtIn: true,
  status: false,
  versions: [
    {
      version: 'v1',
      schema: rootSchema('Who is in charge, for how long.', {
        spec: object('The lease.', {
          holderIdentity: string('Who holds it.'),
          leaseDurationSeconds: integer('How long it holds without renewal.', { minimum: 1 }),
          acquireTime: time('When it was taken.'),
          renewTime: time('When it was last renewed.'),
          leaseTransitions: integer('How often it changed hands.', { minimum: 0 }),
          strategy: string('How a holder is chosen.'),
          preferredHolder: string('Who should hold it.'),
        }),
      }),
      columns: [nameColumn, fieldColumn('Holder', ['spec', 'holderIdentity'], 'Who holds it.'), ageColumn],
    },
  ],
};
