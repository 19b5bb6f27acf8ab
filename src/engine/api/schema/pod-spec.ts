import { containerSchema } from './container.ts';
import { templateMetadata } from './metadata.ts';
import {
  anyObject,
  boolean,
  choice,
  integer,
  list,
  listBy,
  mapOf,
  namedObject,
  object,
  quantity,
  required,
  type Schema,
  string,
  stringMap,
} from './schema.ts';
import { podSecurityContext } from './security.ts';
import { imagePullSecrets, volumes } from './volumes.ts';

/** More than any Pod has: a list that goes on for ever is no Pod. */
const MOST_CONTAINERS = 100;

/** Schema of a Pod's spec; with `defaults` the values that a Pod's own API fills in. */
export function podSpecSchema(options: { defaults: boolean }): Schema {
  const orDefault = (value: unknown) => (options.defaults ? { default: value } : {});
  const container = containerSchema(options);
  return object('What the Pod runs and how.', {
    containers: required(
      listBy(['name'], 'Containers of the Pod; at least one.', container, { minItems: 1, maxItems: MOST_CONTAINERS }),
    ),
    initContainers: listBy(
      ['name'],
      'Containers that end before the others start; sidecars with restartPolicy Always.',
      container,
      { maxItems: MOST_CONTAINERS },
    ),
    ephemeralContainers: listBy(['name'], 'Containers added for debugging.', namedObject('A container.')),
    restartPolicy: choice(
      'What happens when a container ends.',
      ['Always', 'OnFailure', 'Never'],
      options.defaults ? 'Always' : undefined,
    ),
    runtimeClassName: string('RuntimeClass that runs the Pod, such as gvisor.'),
    terminationGracePeriodSeconds: integer('Seconds between the request to end and the kill.', {
      format: 'int64',
      minimum: 0,
      ...orDefault(30),
    }),
    activeDeadlineSeconds: integer('Seconds after which the Pod fails.', { format: 'int64', minimum: 1 }),
    volumes,
    securityContext: { ...podSecurityContext, ...orDefault({}) },
    imagePullSecrets,
    nodeName: string('Node that runs the Pod.'),
    nodeSelector: stringMap('Labels that the node must have.', { 'x-kubernetes-map-type': 'atomic' }),
    affinity: anyObject('Wishes about nodes and neighbours.'),
    tolerations: list('Taints that the Pod bears.', anyObject('A toleration.')),
    topologySpreadConstraints: list('How Pods spread.', anyObject('A constraint.')),
    schedulerName: string('Scheduler in charge.', orDefault('default-scheduler')),
    schedulingGates: listBy(
      ['name'],
      'What holds the scheduling back.',
      object('A gate.', { name: required(string('Name.')) }),
    ),
    priority: integer('Priority.'),
    priorityClassName: string('Class of priority.'),
    preemptionPolicy: string('Whether it may preempt.'),
    readinessGates: list('Conditions that must hold before the Pod is ready.', anyObject('A condition type.')),
    hostname: string('Host name of the Pod.', { maxLength: 63 }),
    subdomain: string('Subdomain of the host name.'),
    setHostnameAsFQDN: boolean('Whether the host name is the full one.'),
    hostAliases: listBy(
      ['ip'],
      'More lines of /etc/hosts.',
      object('A line of /etc/hosts.', {
        ip: required(string('Address.')),
        hostnames: list('Names.', { type: 'string' }),
      }),
    ),
    hostNetwork: boolean("Whether it uses the node's network."),
    hostPID: boolean("Whether it sees the node's processes."),
    hostIPC: boolean("Whether it uses the node's IPC."),
    hostUsers: boolean("Whether it uses the node's user namespace."),
    shareProcessNamespace: boolean('Whether containers see each other.'),
    dnsPolicy: choice(
      'How names are resolved.',
      ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'],
      options.defaults ? 'ClusterFirst' : undefined,
    ),
    dnsConfig: object('Settings of the resolver.', {
      nameservers: list('Name servers.', { type: 'string' }),
      searches: list('Search domains.', { type: 'string' }),
      options: list('Options.', object('An option.', { name: string('Name.'), value: string('Value.') })),
    }),
    serviceAccountName: string('ServiceAccount of the Pod.'),
    serviceAccount: string('Deprecated name of serviceAccountName.'),
    automountServiceAccountToken: boolean('Whether a token is mounted.'),
    enableServiceLinks: boolean('Whether Services become variables.', orDefault(true)),
    overhead: mapOf('What running the Pod itself needs.', quantity('Amount.')),
    os: anyObject('Operating system.'),
    resourceClaims: listBy(['name'], 'Claims of the Pod.', namedObject('A claim.')),
    resources: anyObject('Resources of the whole Pod.'),
  });
}

const embeddedPodSpec = podSpecSchema({ defaults: false });

/** Schema of `podTemplate`: the Pod blueprint that Sandboxes and templates carry. */
export const podTemplate: Schema = object('Blueprint of the Pod.', {
  metadata: templateMetadata,
  spec: required(embeddedPodSpec),
});
