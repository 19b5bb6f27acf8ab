import { isDeepStrictEqual } from 'node:util';
import { type ApiObject, at, items, text } from '../object.ts';
import { conditions, rootSchema } from '../schema/metadata.ts';
import { podSpecSchema } from '../schema/pod-spec.ts';
import { anyObject, boolean, integer, list, object, required, string, time } from '../schema/schema.ts';
import type { FieldError } from '../schema/validate.ts';
import type { Kind } from './kind.ts';
import { podColumns } from './pod-columns.ts';
import { podSpecErrors } from './pod-rules/index.ts';

const containerStatuses = (description: string) =>
  list(
    description,
    object('State of a container.', {
      name: required(string('Name of the container.')),
      ready: boolean('Whether it is ready.'),
      restartCount: integer('How often it was started again.'),
      image: string('Image that runs.'),
      imageID: string('Digest of the image.'),
      containerID: string('Id of the container.'),
      started: boolean('Whether it passed its startup probe.'),
      state: anyObject('waiting, running or terminated.'),
      lastState: anyObject('How it ended last.'),
      allocatedResources: anyObject('Resources set aside.'),
      resources: anyObject('Resources in force.'),
      volumeMounts: list('Mounts in force.', anyObject('A mount.')),
      user: anyObject('User of the process.'),
      allocatedResourcesStatus: list('Devices.', anyObject('A device.')),
      stopSignal: string('Signal that stops it.'),
    }),
  );

const address = (description: string) => list(description, object('An address.', { ip: string('The address.') }));

/** v1 Pod. */
export const pod: Kind = {
  group: '',
  plural: 'pods',
  singular: 'pod',
  kind: 'Pod',
  shortNames: ['po'],
  categories: ['all'],
  namespaced: true,
  builtIn: true,
  status: true,
  generation: true,
  versions: [
    {
      version: 'v1',
      schema: rootSchema('Containers that share a network and a life.', {
        spec: { ...podSpecSchema({ defaults: true }), default: {} },
        status: object('The Pod as it is.', {
          phase: string('Pending, Running, Succeeded, Failed or Unknown.'),
          conditions,
          message: string('Details for people.'),
          reason: string('One word: why.'),
          podIP: string('Address of the Pod.'),
          podIPs: address('All addresses of the Pod.'),
          hostIP: string('Address of the node.'),
          hostIPs: address('All addresses of the node.'),
          startTime: time('When the node took the Pod.'),
          qosClass: string('Quality of service.'),
          nominatedNodeName: string('Node it may preempt on.'),
          containerStatuses: containerStatuses('State of the containers.'),
          initContainerStatuses: containerStatuses('State of the init containers.'),
          ephemeralContainerStatuses: containerStatuses('State of debug containers.'),
          observedGeneration: integer('Generation seen.', { format: 'int64' }),
          resize: string('State of a resize.'),
          resourceClaimStatuses: list('Claims.', anyObject('A claim.')),
        }),
      }),
      columns: podColumns,
    },
  ],
  selectableFields: {
    'spec.nodeName': (object) => text(object, 'spec', 'nodeName'),
    'spec.restartPolicy': (object) => text(object, 'spec', 'restartPolicy'),
    'spec.schedulerName': (object) => text(object, 'spec', 'schedulerName'),
    'spec.serviceAccountName': (object) => text(object, 'spec', 'serviceAccountName'),
    'spec.hostNetwork': (object) => String(at(object, 'spec', 'hostNetwork') === true),
    'status.phase': (object) => text(object, 'status', 'phase'),
    'status.podIP': (object) => text(object, 'status', 'podIP'),
    'status.nominatedNodeName': (object) => text(object, 'status', 'nominatedNodeName'),
  },
  prepareCreate(draft) {
    draft.status = { phase: 'Pending', qosClass: qosClass(draft) };
    for (const list of ['containers', 'initContainers'])
      for (const container of items(draft, 'spec', list) as Record<string, unknown>[]) {
        container.imagePullPolicy ??= pullPolicy(text(container, 'image'));
        container.resources ??= {};
      }
  },
  validate: (next, previous) => [
    ...podSpecErrors(next.spec, previous?.spec, 'spec'),
    ...(previous === undefined ? [] : immutableSpec(next, previous)),
  ],
  // A Pod that no node runs, or that has ended, has nothing to end in an orderly way (pkg/registry/core/pod, CheckGracefulDelete).
  gracePeriodSeconds(object) {
    const phase = text(object, 'status', 'phase');
    if (text(object, 'spec', 'nodeName') === '' || phase === 'Succeeded' || phase === 'Failed') return 0;
    return Number(at(object, 'spec', 'terminationGracePeriodSeconds') ?? 30);
  },
};

/** Only these parts of a Pod's spec may change, as in Kubernetes. `nodeName` may be set once, in place of the binding subresource. */
function immutableSpec(next: ApiObject, previous: ApiObject): FieldError[] {
  if (isDeepStrictEqual(fixedPart(next, previous), fixedPart(previous, previous))) return [];
  return [
    {
      field: 'spec',
      reason: 'FieldValueForbidden',
      message:
        'Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,' +
        '`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),' +
        '`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)',
    },
  ];
}

function fixedPart(object: ApiObject, previous: ApiObject): unknown {
  const spec = at(object, 'spec') as Record<string, unknown>;
  const withoutImages = (list: string) =>
    items(spec, list).map((container) => ({ ...(container as object), image: '' }));
  return {
    ...spec,
    containers: withoutImages('containers'),
    initContainers: withoutImages('initContainers'),
    ephemeralContainers: undefined,
    activeDeadlineSeconds: undefined,
    tolerations: undefined,
    ...(text(previous, 'spec', 'nodeName') === '' ? { nodeName: undefined } : {}),
  };
}

/** Images without a tag or with `latest` are fetched always (Kubernetes' default for imagePullPolicy). */
function pullPolicy(image: string): string {
  const tag = /:([^/@]+)$/.exec(image.replace(/^oci:/, '').split('@')[0] ?? '')?.[1];
  return !image.includes('@') && (tag === undefined || tag === 'latest') ? 'Always' : 'IfNotPresent';
}

function qosClass(object: ApiObject): string {
  const containers = [...items(object, 'spec', 'containers'), ...items(object, 'spec', 'initContainers')];
  const amounts = (container: unknown, which: string) =>
    Object.entries((at(container, 'resources', which) ?? {}) as Record<string, unknown>).filter(
      ([name]) => name === 'cpu' || name === 'memory',
    );
  if (
    containers.every((container) => amounts(container, 'limits').length + amounts(container, 'requests').length === 0)
  )
    return 'BestEffort';
  const guaranteed = containers.every((container) => {
    const limits = amounts(container, 'limits');
    return (
      limits.length === 2 &&
      amounts(container, 'requests').every(([name, value]) => at(container, 'resources', 'limits', name) === value)
    );
  });
  return guaranteed ? 'Guaranteed' : 'Burstable';
}
