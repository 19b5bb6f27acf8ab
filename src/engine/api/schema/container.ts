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
  type Schema,
  string,
} from './schema.ts';
import { resources, securityContext } from './security.ts';

/** Which kind of server fills in the defaults: a Pod's own schema does, a CRD that embeds a PodSpec only does for port protocols. */
export interface ContainerSchemaOptions {
  defaults: boolean;
}

/** More would not fit into what a program is started with. */
const MOST_VARIABLES = 5000;
const DNS_LABEL = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$';

/** Schema of one container. */
export function containerSchema({ defaults }: ContainerSchemaOptions): Schema {
  const orDefault = (value: unknown) => (defaults ? { default: value } : {});
  const probe = probeSchema(orDefault);
  return object('A container of the Pod.', {
    name: required(string('Name, unique in the Pod.', { minLength: 1, maxLength: 63, pattern: DNS_LABEL })),
    image: required(string('Image reference.', { minLength: 1 })),
    imagePullPolicy: choice('When the image is fetched.', ['Always', 'IfNotPresent', 'Never']),
    command: list("Replaces the image's entrypoint.", { type: 'string' }),
    args: list("Replaces the image's command.", { type: 'string' }),
    workingDir: string('Directory in which the command starts.'),
    env: listBy(['name'], 'Environment variables.', environmentVariable, { maxItems: MOST_VARIABLES }),
    envFrom: list('Sources whose every key becomes a variable.', environmentSource),
    ports: listBy(['containerPort', 'protocol'], 'Ports that the container serves.', containerPort),
    resources,
    resizePolicy: list('What a resize does.', anyObject('Policy of one resource.')),
    readinessProbe: probe,
    livenessProbe: probe,
    startupProbe: probe,
    lifecycle: object('What the container does after its start and before its stop.', {
      postStart: handlerSchema(
        'Right after the start: the container is not ready before, and ended if it fails.',
        orDefault,
      ),
      preStop: handlerSchema('Before the container is told to end, within its grace period.', orDefault),
    }),
    restartPolicy: string('`Always` on an init container makes it a sidecar.'),
    securityContext,
    volumeMounts: listBy(['mountPath'], 'Volumes in the file system of the container.', volumeMount),
    volumeDevices: listBy(
      ['devicePath'],
      'Block devices.',
      object('A block device.', {
        name: required(string('Volume.')),
        devicePath: required(string('Path in the container.')),
      }),
    ),
    terminationMessagePath: string(
      'File whose content becomes the termination message.',
      orDefault('/dev/termination-log'),
    ),
    terminationMessagePolicy: choice(
      'Where the termination message comes from.',
      ['File', 'FallbackToLogsOnError'],
      defaults ? 'File' : undefined,
    ),
    stdin: boolean('Keeps standard input open.'),
    stdinOnce: boolean('Closes standard input after the first attach.'),
    tty: boolean('Gives the container a terminal.'),
  });
}

const keyReference = (what: string) =>
  object(
    `A key of a ${what}.`,
    {
      name: string(`Name of the ${what}.`),
      key: required(string('The key.', { minLength: 1 })),
      optional: boolean('Whether it may be missing.'),
    },
    { 'x-kubernetes-map-type': 'atomic' },
  );

const environmentVariable = object('An environment variable.', {
  name: required(string('Name of the variable.', { minLength: 1 })),
  value: string('Value; `$(OTHER)` refers to variables before it.'),
  valueFrom: object('Where the value comes from.', {
    fieldRef: object(
      'A field of the Pod.',
      {
        apiVersion: string('Version of the path.'),
        fieldPath: required(string('Path of the field, `metadata.name`.')),
      },
      { 'x-kubernetes-map-type': 'atomic' },
    ),
    resourceFieldRef: anyObject('A resource of a container.'),
    secretKeyRef: keyReference('Secret'),
    configMapKeyRef: keyReference('ConfigMap'),
  }),
});

const environmentSource = object('A source of environment variables.', {
  prefix: string('Put before every name.'),
  secretRef: object('A Secret.', { name: string('Its name.'), optional: boolean('Whether it may be missing.') }),
  configMapRef: object('A ConfigMap.', { name: string('Its name.'), optional: boolean('Whether it may be missing.') }),
});

const containerPort = object('A port that a container serves.', {
  name: string('Name, unique in the Pod.', { maxLength: 15, pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$' }),
  containerPort: required(integer('Number of the port.', { minimum: 1, maximum: 65535 })),
  protocol: choice('Protocol.', ['TCP', 'UDP', 'SCTP'], 'TCP'),
  hostPort: integer('Port on the node.', { minimum: 0, maximum: 65535 }),
  hostIP: string('Address on the node.'),
});

const volumeMount = object('A volume in the file system of the container.', {
  name: required(string('Name of the volume.', { minLength: 1 })),
  mountPath: required(string('Where it appears.', { minLength: 1 })),
  subPath: string('Part of the volume that appears.'),
  subPathExpr: string('Part of the volume, with variables.'),
  readOnly: boolean('Whether it cannot be written.'),
  recursiveReadOnly: string('Whether mounts below it are read-only too.'),
  mountPropagation: string('How mounts spread.'),
});

const tcpSocket = object('A port that must accept.', {
  port: required(intOrString('Number or name of the port.')),
  host: string('Host, the Pod by default.'),
});

function httpGetSchema(description: string, orDefault: (value: unknown) => object): Schema {
  return object(description, {
    path: string('Path.'),
    port: required(intOrString('Number or name of the port.')),
    host: string('Host, the Pod by default.'),
    scheme: string('HTTP or HTTPS.', orDefault('HTTP')),
    httpHeaders: list(
      'Headers of the request.',
      object('A header.', { name: required(string('Name.')), value: required(string('Value.')) }),
    ),
  });
}

function handlerSchema(description: string, orDefault: (value: unknown) => object): Schema {
  return object(description, {
    exec: object('A command that must end with 0.', { command: list('The command.', { type: 'string' }) }),
    httpGet: httpGetSchema('An HTTP request that must be answered.', orDefault),
    sleep: object('A wait.', { seconds: required(integer('How long.', { format: 'int64' })) }),
    tcpSocket,
  });
}

function probeSchema(orDefault: (value: unknown) => object): Schema {
  return object('Asks the container how it is.', {
    httpGet: httpGetSchema('An HTTP request that must be answered with 2xx or 3xx.', orDefault),
    tcpSocket,
    exec: object('A command that must end with 0.', { command: list('The command.', { type: 'string' }) }),
    grpc: object('A gRPC health check.', {
      port: required(integer('Port.')),
      service: string('Service to ask about.'),
    }),
    initialDelaySeconds: integer('Seconds before the first probe.', { minimum: 0 }),
    periodSeconds: integer('Seconds between probes.', { minimum: 0, ...orDefault(10) }),
    timeoutSeconds: integer('Seconds for an answer.', { minimum: 0, ...orDefault(1) }),
    failureThreshold: integer('Failures in a row that count.', { minimum: 0, ...orDefault(3) }),
    successThreshold: integer('Successes in a row that count.', { minimum: 0, ...orDefault(1) }),
    terminationGracePeriodSeconds: integer('Grace period when this probe ends the container.', { format: 'int64' }),
  });
}
