import { conditions, rootSchema } from '../schema/metadata.ts';
import { object, required, type Schema, string } from '../schema/schema.ts';
import { ageColumn, conditionColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Column, Kind } from './kind.ts';

const OPEN = { 'x-kubernetes-preserve-unknown-fields': true } as const;

const status = object('The object as it is.', { conditions }, OPEN);

/** A kind of podsnapshot.gke.io/v1. Its schema is known only in part, so fields beyond the known ones are kept. */
function snapshotKind(
  kind: string,
  singular: string,
  description: string,
  spec: Schema,
  parts: object,
  columns: Column[],
): Kind {
  return {
    group: 'podsnapshot.gke.io',
    plural: singular.endsWith('y') ? `${singular.slice(0, -1)}ies` : `${singular}s`,
    singular,
    kind,
    namespaced: true,
    builtIn: false,
    status: true,
    versions: [
      {
        version: 'v1',
        schema: rootSchema(description, { spec, status, ...parts }),
        columns: [nameColumn, ...columns, ageColumn],
      },
    ],
  };
}

const ready = conditionColumn('Ready', 'Ready', 'status', 'Whether it can be restored.');

/** A snapshot of a Pod; selected by the labels of its sandbox. */
export const podSnapshot = snapshotKind(
  'PodSnapshot',
  'podsnapshot',
  'A snapshot of a Pod.',
  object('Where it comes from.', {}, OPEN),
  {},
  [ready],
);

/** Takes a snapshot of one Pod, once. */
export const podSnapshotManualTrigger = snapshotKind(
  'PodSnapshotManualTrigger',
  'podsnapshotmanualtrigger',
  'Asks for a snapshot of a Pod.',
  object('What to take.', { targetPod: required(string('Name of the Pod.', { minLength: 1 })) }, OPEN),
  {
    status: object(
      'What was taken.',
      { conditions, snapshotCreated: object('The snapshot.', { name: string('Its name.') }, OPEN) },
      OPEN,
    ),
  },
  [
    fieldColumn('Pod', ['spec', 'targetPod'], 'The Pod.'),
    conditionColumn('Triggered', 'Triggered', 'status', 'Whether it was taken.'),
    fieldColumn('Snapshot', ['status', 'snapshotCreated', 'name'], 'The snapshot.'),
  ],
);

/** Which Pods may have snapshots, and how many are kept. */
export const podSnapshotPolicy = snapshotKind(
  'PodSnapshotPolicy',
  'podsnapshotpolicy',
  'Which Pods may have snapshots, and how many are kept.',
  object('The policy.', { storageConfigName: string('Where snapshots go.') }, OPEN),
  {},
  [fieldColumn('Storage', ['spec', 'storageConfigName'], 'Where snapshots go.')],
);

/** Where snapshots are kept. */
export const podSnapshotStorageConfig = snapshotKind(
  'PodSnapshotStorageConfig',
  'podsnapshotstorageconfig',
  'Where snapshots are kept.',
  object('The place.', {}, OPEN),
  {},
  [],
);
