import { LABEL } from '../names.ts';
import { labelSelector, localReference } from './metadata.ts';
import {
  anyObject,
  boolean,
  integer,
  list,
  listBy,
  object,
  quantity,
  required,
  type Schema,
  string,
} from './schema.ts';
import { resources } from './security.ts';

const keyToPath = object('A key as a file.', {
  key: required(string('The key.')),
  path: required(string('Path of the file below the volume.')),
  mode: integer('Permission bits.'),
});

/** Schema of a PersistentVolumeClaim's spec. */
export const volumeClaimSpec: Schema = object('What storage is asked for.', {
  accessModes: list('How it is mounted: ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod.', {
    type: 'string',
  }),
  resources,
  storageClassName: string('Class of storage.'),
  volumeMode: string('Filesystem or Block.'),
  volumeName: string('The volume bound to.'),
  volumeAttributesClassName: string('Class of attributes.'),
  selector: labelSelector,
  dataSource: anyObject('What it is filled from.'),
  dataSourceRef: anyObject('What it is filled from.'),
});

/** Volume sources that exist on clusters and mean something there: looked at by whoever runs the Pod. */
const OTHER_SOURCES = [
  'hostPath',
  'csi',
  'nfs',
  'iscsi',
  'fc',
  'image',
  'awsElasticBlockStore',
  'azureDisk',
  'azureFile',
  'cephfs',
  'cinder',
  'flexVolume',
  'flocker',
  'gcePersistentDisk',
  'gitRepo',
  'glusterfs',
  'photonPersistentDisk',
  'portworxVolume',
  'quobyte',
  'rbd',
  'scaleIO',
  'storageos',
  'vsphereVolume',
];

/** Schema of `spec.volumes`. */
export const volumes: Schema = listBy(
  ['name'],
  'Volumes that containers may mount.',
  object('A volume; exactly one source is set.', {
    name: required(string('Name, unique in the Pod.', { minLength: 1, maxLength: 63, pattern: LABEL.source })),
    emptyDir: object('An empty directory that lives as long as the Pod.', {
      medium: string('`Memory` for a tmpfs.'),
      sizeLimit: quantity('Most it may hold.'),
    }),
    configMap: object('Files from a ConfigMap.', {
      name: string('Name of the ConfigMap.'),
      items: list('Which keys; all by default.', keyToPath),
      defaultMode: integer('Permission bits of the files.'),
      optional: boolean('Whether it may be missing.'),
    }),
    secret: object('Files from a Secret.', {
      secretName: string('Name of the Secret.'),
      items: list('Which keys; all by default.', keyToPath),
      defaultMode: integer('Permission bits of the files.'),
      optional: boolean('Whether it may be missing.'),
    }),
    persistentVolumeClaim: object('Storage that a claim is bound to.', {
      claimName: required(string('Name of the claim.', { minLength: 1 })),
      readOnly: boolean('Whether it cannot be written.'),
    }),
    ephemeral: object('A claim made with and for the Pod.', {
      volumeClaimTemplate: object('The claim.', {
        metadata: anyObject('Labels and annotations.'),
        spec: required(volumeClaimSpec),
      }),
    }),
    downwardAPI: anyObject('Files from fields of the Pod.'),
    projected: object('Several sources in one directory.', {
      defaultMode: integer('Permission bits of the files.'),
      sources: list('The sources.', anyObject('A source.')),
    }),
    ...Object.fromEntries(OTHER_SOURCES.map((name) => [name, anyObject(`A ${name} volume.`)])),
  }),
);

/** Schema of a list of claims that are stamped out once per Sandbox: replaced as a whole. */
export const volumeClaimTemplates: Schema = list(
  'Claims for storage, made once for each Sandbox. Cannot change.',
  object('A claim for storage.', {
    metadata: object('Name, labels and annotations of the claim.', {
      name: string('Name, to which the name of the Sandbox is added.', { maxLength: 63, pattern: LABEL.source }),
      labels: { type: 'object', description: 'Labels.', additionalProperties: { type: 'string' } },
      annotations: { type: 'object', description: 'Annotations.', additionalProperties: { type: 'string' } },
    }),
    spec: required(volumeClaimSpec),
  }),
);

/** Pull secrets of a Pod. */
export const imagePullSecrets: Schema = listBy(
  ['name'],
  'Secrets for pulling images.',
  localReference('A Secret.', { default: '' }),
);
