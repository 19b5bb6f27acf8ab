import type { Duplex } from 'node:stream';
import {
  isApiError,
  type KubernetesObject,
  MIRROR_ANNOTATION,
  NAMESPACES,
  PODS,
  type Pod,
  type ResourceClient,
  type ResourceType,
  SERVICES,
} from '../kubernetes/index.ts';

/**
 * A program of this machine that clients find as a Pod behind a Service and reach by forwarding a port: what a static Pod is to a kubelet. The engine does not
 * run it.
 */
export interface MachineProgram {
  namespace: string;
  pod: string;
  service: string;
  port: number;
  image: string;
  /** Opens a connection for somebody who may forward ports of Pods. */
  connect(): Promise<Duplex>;
}

/** Programs by the UIDs of the Pods that stand for them. */
export type MachinePrograms = Map<string, MachineProgram>;

/** Puts a program into the API, and its Pod among those that can be reached. @throws ApiError where somebody else has its name */
export async function publishProgram(
  client: ResourceClient,
  programs: MachinePrograms,
  program: MachineProgram,
  nodeName: string,
  now: Date,
): Promise<void> {
  const { namespace, port } = program;
  const labels = { app: program.pod };
  await ensure(client, NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  await ensure(client, SERVICES, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name: program.service, labels },
    spec: { selector: labels, ports: [{ name: 'http', port, targetPort: port }] },
  } as KubernetesObject);
  const metadata = { namespace, name: program.pod, labels, annotations: { [MIRROR_ANNOTATION]: 'sandbox-router' } };
  const pod = await ensure<Pod>(client, PODS, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: {
      nodeName,
      containers: [{ name: program.pod, image: program.image, ports: [{ name: 'http', containerPort: port }] }],
    },
  });
  if (pod.metadata.annotations?.[MIRROR_ANNOTATION] === undefined)
    throw new Error(`pod ${namespace}/${program.pod} is somebody else's: remove it, and start again`);
  const status = statusOf(program, `${now.toISOString().slice(0, 19)}Z`);
  await client.patch(PODS, pod.metadata, { status }, { type: 'merge', subresource: 'status' });
  programs.set(pod.metadata.uid ?? '', program);
}

async function ensure<T extends KubernetesObject>(client: ResourceClient, type: ResourceType, object: T): Promise<T> {
  try {
    return await client.create(type, object);
  } catch (error) {
    if (!isApiError(error, 'AlreadyExists')) throw error;
    return await client.get<T>(type, object.metadata);
  }
}

function statusOf({ pod, image }: MachineProgram, at: string): object {
  const conditions = ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => ({
    type,
    status: 'True',
    lastTransitionTime: at,
  }));
  return {
    phase: 'Running',
    conditions,
    hostIP: '127.0.0.1',
    startTime: at,
    containerStatuses: [
      {
        name: pod,
        image,
        imageID: '',
        ready: true,
        started: true,
        restartCount: 0,
        state: { running: { startedAt: at } },
      },
    ],
  };
}
