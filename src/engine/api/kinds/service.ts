import { type ApiObject, at, items, text } from '../object.ts';
import { conditions, rootSchema } from '../schema/metadata.ts';
import {
  anyObject,
  boolean,
  choice,
  integer,
  intOrString,
  list,
  listBy,
  object,
  required,
  string,
  stringMap,
} from '../schema/schema.ts';
import { ageColumn, fieldColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';

const port = object('A port of the Service.', {
  name: string('Name, unique in the Service.', { maxLength: 63 }),
  protocol: choice('Protocol.', ['TCP', 'UDP', 'SCTP'], 'TCP'),
  port: required(integer('Number of the port.', { minimum: 1, maximum: 65535 })),
  targetPort: intOrString('Number or name of the port of the Pods.'),
  nodePort: integer('Port on every node.', { minimum: 0, maximum: 65535 }),
  appProtocol: string('Protocol spoken.'),
});

/** v1 Service. The engine gives no cluster addresses: Services are headless or without an address. */
export const service: Kind = {
  group: '',
  plural: 'services',
  singular: 'service',
  kind: 'Service',
  shortNames: ['svc'],
  categories: ['all'],
  namespaced: true,
  builtIn: true,
  status: true,
  names: 'label',
  versions: [
    {
      version: 'v1',
      schema: rootSchema('A name for Pods.', {
        spec: object('The Service as it is to be.', {
          type: choice('How it is reached.', ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'], 'ClusterIP'),
          clusterIP: string('Address; `None` for a headless Service.'),
          clusterIPs: list('Addresses.', { type: 'string' }),
          selector: stringMap('Labels of the Pods.', { 'x-kubernetes-map-type': 'atomic' }),
          ports: listBy(['port', 'protocol'], 'Ports.', port),
          externalName: string('Name that this one stands for.'),
          externalIPs: list('More addresses.', { type: 'string' }),
          sessionAffinity: choice('Whether a client keeps its Pod.', ['None', 'ClientIP'], 'None'),
          sessionAffinityConfig: anyObject('Settings of the affinity.'),
          publishNotReadyAddresses: boolean('Whether Pods that are not ready are named too.'),
          ipFamilies: list('Address families.', { type: 'string' }),
          ipFamilyPolicy: string('How families are chosen.'),
          internalTrafficPolicy: string('Where traffic from inside goes.'),
          externalTrafficPolicy: string('Where traffic from outside goes.'),
          healthCheckNodePort: integer('Port of the health check.'),
          loadBalancerIP: string('Wanted address.'),
          loadBalancerClass: string('Class of load balancer.'),
          loadBalancerSourceRanges: list('Who may call.', { type: 'string' }),
          allocateLoadBalancerNodePorts: boolean('Whether ports are given.'),
          trafficDistribution: string('How traffic spreads.'),
        }),
        status: object('The Service as it is.', { loadBalancer: anyObject('The load balancer.'), conditions }),
      }),
      columns: [
        nameColumn,
        fieldColumn('Type', ['spec', 'type'], 'How it is reached.'),
        {
          name: 'Cluster-IP',
          description: 'Address.',
          value: (object) => text(object, 'spec', 'clusterIP') || '<none>',
        },
        {
          name: 'External-IP',
          description: 'Address from outside.',
          value: (object) => text(object, 'spec', 'externalName') || '<none>',
        },
        { name: 'Port(s)', description: 'Ports.', value: ports },
        ageColumn,
        { name: 'Selector', priority: 1, description: 'Labels of the Pods.', value: selector },
      ],
    },
  ],
  selectableFields: {
    'spec.clusterIP': (object) => text(object, 'spec', 'clusterIP'),
    'spec.type': (object) => text(object, 'spec', 'type'),
  },
  prepareCreate(draft) {
    draft.status = { loadBalancer: {} };
    for (const entry of items(draft, 'spec', 'ports') as Record<string, unknown>[]) entry.targetPort ??= entry.port;
  },
};

function ports(object: ApiObject): string {
  const list = items(object, 'spec', 'ports').map((entry) => `${text(entry, 'port')}/${text(entry, 'protocol')}`);
  return list.length === 0 ? '<none>' : list.join(',');
}

function selector(object: ApiObject): string {
  const labels = Object.entries((at(object, 'spec', 'selector') ?? {}) as Record<string, string>);
  return labels.length === 0 ? '<none>' : labels.map(([key, value]) => `${key}=${value}`).join(',');
}
