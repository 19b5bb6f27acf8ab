import { type ApiObject, at, condition, items, text } from '../object.ts';
import { conditions, rootSchema } from '../schema/metadata.ts';
import {
  anyObject,
  boolean,
  list,
  listBy,
  mapOf,
  object,
  quantity,
  required,
  type Schema,
  string,
  time,
} from '../schema/schema.ts';
import { ageColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';

const address = object('An address.', {
  type: required(string('What kind of address.')),
  address: required(string('The address.')),
});

const nodeConditions: Schema = {
  ...conditions,
  items: {
    ...conditions.items,
    properties: { ...conditions.items?.properties, lastHeartbeatTime: time('When the node last said so.') },
  },
};

/** v1 Node. */
export const node: Kind = {
  group: '',
  plural: 'nodes',
  singular: 'node',
  kind: 'Node',
  shortNames: ['no'],
  namespaced: false,
  builtIn: true,
  status: true,
  versions: [
    {
      version: 'v1',
      schema: rootSchema('A machine that runs Pods.', {
        spec: object('The node as it is to be.', {
          podCIDR: string('Range of Pod addresses.'),
          podCIDRs: list('Ranges of Pod addresses.', { type: 'string' }),
          providerID: string('Id at the provider.'),
          unschedulable: boolean('Whether it takes no new Pods.'),
          taints: list(
            'What Pods must bear.',
            object('A taint.', {
              key: required(string('Its key.')),
              value: string('Its value.'),
              effect: required(string('What it does.')),
              timeAdded: time('When it was added.'),
            }),
          ),
        }),
        status: object('The node as it is.', {
          capacity: mapOf('What it has.', quantity('Amount.')),
          allocatable: mapOf('What Pods may use.', quantity('Amount.')),
          conditions: nodeConditions,
          addresses: listBy(['type'], 'Its addresses.', address),
          nodeInfo: anyObject('Its software.'),
          daemonEndpoints: anyObject('Its agent.'),
          images: list('Images it has.', anyObject('An image.')),
          phase: string('Deprecated.'),
          runtimeHandlers: list('Runtimes it has.', anyObject('A runtime.')),
          features: anyObject('What it can do.'),
        }),
      }),
      columns: [
        nameColumn,
        { name: 'Status', description: 'Whether it is ready.', value: status },
        { name: 'Roles', description: 'Its roles.', value: roles },
        ageColumn,
        fieldColumn('Version', ['status', 'nodeInfo', 'kubeletVersion'], 'Version of its agent.'),
        {
          name: 'Internal-IP',
          priority: 1,
          description: 'Address inside.',
          value: (object) => addressOf(object, 'InternalIP'),
        },
        {
          name: 'External-IP',
          priority: 1,
          description: 'Address outside.',
          value: (object) => addressOf(object, 'ExternalIP'),
        },
        fieldColumn('OS-Image', ['status', 'nodeInfo', 'osImage'], 'Its system.', { priority: 1 }),
        fieldColumn('Kernel-Version', ['status', 'nodeInfo', 'kernelVersion'], 'Its kernel.', { priority: 1 }),
        fieldColumn('Container-Runtime', ['status', 'nodeInfo', 'containerRuntimeVersion'], 'Its runtime.', {
          priority: 1,
        }),
      ],
    },
  ],
  selectableFields: { 'spec.unschedulable': (object) => String(at(object, 'spec', 'unschedulable') === true) },
};

function status(object: ApiObject): string {
  const ready = condition(object, 'Ready')?.status;
  const words = [ready === 'True' ? 'Ready' : ready === undefined ? 'Unknown' : 'NotReady'];
  if (at(object, 'spec', 'unschedulable') === true) words.push('SchedulingDisabled');
  return words.join(',');
}

function roles(object: ApiObject): string {
  const prefix = 'node-role.kubernetes.io/';
  const names = Object.keys(object.metadata.labels ?? {})
    .filter((key) => key.startsWith(prefix))
    .map((key) => key.slice(prefix.length));
  return names.length === 0 ? '<none>' : names.sort().join(',');
}

function addressOf(object: ApiObject, type: string): string {
  const found = items(object, 'status', 'addresses').find((entry) => text(entry, 'type') === type);
  return found === undefined ? '<none>' : text(found, 'address');
}
