import { type ApiObject, items, text } from '../object.ts';
import { conditions, rootSchema } from '../schema/metadata.ts';
import { anyObject, list, mapOf, object, quantity, string } from '../schema/schema.ts';
import { volumeClaimSpec } from '../schema/volumes.ts';
import { ageColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';

/** v1 PersistentVolumeClaim. */
export const persistentVolumeClaim: Kind = {
  group: '',
  plural: 'persistentvolumeclaims',
  singular: 'persistentvolumeclaim',
  kind: 'PersistentVolumeClaim',
  shortNames: ['pvc'],
  namespaced: true,
  builtIn: true,
  status: true,
  versions: [
    {
      version: 'v1',
      schema: rootSchema('A claim for storage.', {
        spec: volumeClaimSpec,
        status: object('The claim as it is.', {
          phase: string('Pending, Bound or Lost.'),
          accessModes: list('How it may be mounted.', { type: 'string' }),
          capacity: mapOf('What it holds.', quantity('Amount.')),
          conditions,
          allocatedResources: mapOf('What is set aside.', quantity('Amount.')),
          allocatedResourceStatuses: anyObject('State of a resize.'),
          currentVolumeAttributesClassName: string('Class of attributes.'),
          modifyVolumeStatus: anyObject('State of a change.'),
        }),
      }),
      columns: [
        nameColumn,
        fieldColumn('Status', ['status', 'phase'], 'Pending, Bound or Lost.'),
        fieldColumn('Volume', ['spec', 'volumeName'], 'The volume.'),
        fieldColumn('Capacity', ['status', 'capacity', 'storage'], 'What it holds.'),
        { name: 'Access Modes', description: 'How it may be mounted.', value: accessModes },
        fieldColumn('StorageClass', ['spec', 'storageClassName'], 'Class of storage.'),
        {
          name: 'VolumeAttributesClass',
          description: 'Class of attributes.',
          value: (object) => text(object, 'spec', 'volumeAttributesClassName') || '<unset>',
        },
        ageColumn,
        {
          name: 'VolumeMode',
          priority: 1,
          description: 'Filesystem or Block.',
          value: (object) => text(object, 'spec', 'volumeMode') || 'Filesystem',
        },
      ],
    },
  ],
  prepareCreate(draft) {
    draft.status = { phase: 'Pending' };
  },
};

const SHORT: Record<string, string> = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
};

function accessModes(object: ApiObject): string {
  return items(object, 'status', 'accessModes')
    .map((mode) => SHORT[String(mode)] ?? String(mode))
    .join(',');
}
