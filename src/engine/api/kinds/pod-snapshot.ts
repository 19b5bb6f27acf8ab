import { conditions, rootSchema } from '../schema/metadata.ts';
import { integer, list, object, required, type Schema, string } from '../schema/schema.ts';
import { ageColumn, conditionColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Column, Kind } from './kind.ts';

/** Triggers of which nobody cleans up vanish a day after they are over; their snapshots stay. */
const TRIGGER_TIME_TO_LIVE_MS = 24 * 60 * 60_000;

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
  timeToLiveMs?: number,
): Kind {
  return {
    group: 'podsnapshot.gke.io',
    plural: singular.endsWith('y') ? `${singular.slice(0, -1)}ies` : `${singular}s`,
    singular,
    kind,
    namespaced: true,
    builtIn: false,
    status: true,
    ...(timeToLiveMs === undefined ? {} : { timeToLiveMs }),
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
  {
    status: object(
      'The snapshot as it is.',
      {
        conditions,
        storage: object('Where the engine keeps it.', {
          id: string('Name of its data.'),
          sizeBytes: integer('Size on disk in bytes.', { minimum: 0 }),
        }),
        compatibility: object('What it can be restored with.', {
          runtime: string('Program and version that wrote it.'),
          cpuFeaturesHash: string('Hash of the features of the CPU.'),
          image: string('Images of the containers.'),
          templateRevision: string('Hash of what the processes were started with.'),
        }),
      },
      OPEN,
    ),
  },
  [
    ready,
    fieldColumn('Pod', ['metadata', 'annotations', 'podsnapshot.gke.io/origin-pod'], 'The Pod that it was taken of.'),
  ],
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
  TRIGGER_TIME_TO_LIVE_MS,
);

/** Which Pods may have snapshots, and how many are kept. */
export const podSnapshotPolicy = snapshotKind(
  'PodSnapshotPolicy',
  'podsnapshotpolicy',
  'Which Pods may have snapshots, and how many are kept.',
  object(
    'The policy.',
    {
      storageConfigName: string('Where snapshots go.'),
      selector: object('Which Pods.', {}, OPEN),
      snapshotGroupingRules: object(
        'How many are kept.',
        {
          groupByLabelValue: object('A group is what has the same values of these labels.', {
            labels: list('Names of labels.', string('Name of a label.')),
          }),
          groupRetentionPolicy: object('What is kept of a group.', {
            maxSnapshotCountPerGroup: integer('How many; the oldest go.', { minimum: 1 }),
          }),
        },
        OPEN,
      ),
    },
    OPEN,
  ),
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
