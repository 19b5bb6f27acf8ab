import {
  anyObject,
  boolean,
  integer,
  list,
  listBy,
  mapOf,
  object,
  quantity,
  required,
  type Schema,
  string,
} from './schema.ts';

const amounts = (description: string) => mapOf(description, quantity('Amount.'));

/** Schema of a container's `resources`. */
export const resources: Schema = object('What the container may use and what is set aside for it.', {
  limits: amounts('Most it may use.'),
  requests: amounts('Set aside for it.'),
  claims: listBy(
    ['name'],
    'Claims of the Pod that it uses.',
    object('A claim.', { name: required(string('Name of the claim.')), request: string('Part of the claim.') }),
  ),
});

/** Ids of users and groups are 31 bits wide. */
const MOST_ID = 2 ** 31 - 1;

const common = {
  runAsUser: integer('User id of the process.', { format: 'int64', minimum: 0, maximum: MOST_ID }),
  runAsGroup: integer('Group id of the process.', { format: 'int64', minimum: 0, maximum: MOST_ID }),
  runAsNonRoot: boolean('Refuses to run as user 0.'),
  seccompProfile: object('System call filter.', {
    type: required(string('RuntimeDefault, Localhost or Unconfined.')),
    localhostProfile: string('File of a Localhost profile.'),
  }),
  appArmorProfile: anyObject('AppArmor profile.'),
  seLinuxOptions: anyObject('SELinux labels.'),
  windowsOptions: anyObject('Windows settings.'),
};

/** Schema of a container's `securityContext`. */
export const securityContext: Schema = object('Rights of the container.', {
  ...common,
  privileged: boolean('Whether it has the rights of the node.'),
  allowPrivilegeEscalation: boolean('Whether a process may gain rights.'),
  readOnlyRootFilesystem: boolean('Whether the root cannot be written.'),
  procMount: string('How /proc is mounted.'),
  capabilities: object('Capabilities added and taken.', {
    add: list('Added.', { type: 'string' }),
    drop: list('Taken.', { type: 'string' }),
  }),
});

/** Schema of a Pod's `securityContext`. */
export const podSecurityContext: Schema = object('Rights that all containers share.', {
  ...common,
  fsGroup: integer('Group that owns the volumes.', { format: 'int64', minimum: 0, maximum: MOST_ID }),
  fsGroupChangePolicy: string('When ownership of volumes is changed.'),
  supplementalGroups: list('More groups of the process.', { type: 'integer' }),
  supplementalGroupsPolicy: string('How groups of the image count.'),
  seLinuxChangePolicy: string('How SELinux labels are applied.'),
  sysctls: list(
    'Kernel settings of the Pod.',
    object('A kernel setting.', { name: required(string('Name.')), value: required(string('Value.')) }),
  ),
});
