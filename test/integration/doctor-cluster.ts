import {
  EGRESS_LABEL,
  type HttpResourceClient,
  IDLE_TIMEOUT_ANNOTATION,
  isApiError,
  type KubernetesObject,
  NAME_HASH_LABEL,
  NAMESPACES,
  NETWORK_POLICIES,
  NODES,
  nameHash,
  POD_SNAPSHOT_POLICIES,
  POD_SNAPSHOT_STORAGE_CONFIGS,
  POD_SNAPSHOTS,
  PODS,
  type ResourceType,
  RUNTIME_CLASSES,
  SANDBOX_CLAIMS,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  TEMPLATE_REF_HASH_LABEL,
  WARM_POOL_LABEL,
} from '../../src/kubernetes/index.ts';
import { until } from '../support/until.ts';

/** Namespace of the sandboxes. */
export const TEAM = 'team-a';
/** Namespace of the router. */
export const SYSTEM = 'agent-sandbox-system';

/** An object of a test: as much of it as matters. */
export type Draft = Record<string, unknown>;

/** Types of what the fixture makes, in the order in which it is made; deleted in the reverse order. */
const TYPES: readonly ResourceType[] = [
  RUNTIME_CLASSES,
  NODES,
  NETWORK_POLICIES,
  POD_SNAPSHOT_STORAGE_CONFIGS,
  POD_SNAPSHOT_POLICIES,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  SANDBOX_CLAIMS,
  POD_SNAPSHOTS,
  PODS,
];

const READY = {
  conditions: [
    { type: 'Ready', status: 'True', reason: 'Test', lastTransitionTime: '2026-01-01T00:00:00Z', message: '' },
  ],
};
/** Label that the snapshot policy selects. */
const LABELS = { [EGRESS_LABEL]: 'none', team: 'a' };
const SPEC = {
  runtimeClassName: 'gvisor',
  containers: [
    {
      name: 'agent',
      image: 'agent',
      ports: [{ name: 'http', containerPort: 8888 }],
      resources: { requests: { cpu: '240m', memory: '480Mi' } },
    },
  ],
};

/** What changes a cluster that {@link makeHealthy} made. */
export interface DoctorCluster {
  /** Merge patch; of the status where asked. */
  change(type: ResourceType, name: string, patch: Draft, subresource?: 'status'): Promise<void>;
  remove(type: ResourceType, name: string): Promise<void>;
  /** Creates an object, and sets its status. */
  make(type: ResourceType, draft: Draft): Promise<KubernetesObject>;
  /** Deletes an object and makes it again, changed: for what can't be changed. `meanwhile` runs while it is gone. */
  remake(
    type: ResourceType,
    name: string,
    edit: (draft: Draft) => void,
    meanwhile?: () => Promise<void>,
  ): Promise<void>;
}

/** Verbs on one API server. */
export function doctorCluster(client: HttpResourceClient): DoctorCluster {
  const keyOf = (type: ResourceType, name: string) => ({ ...(type.namespaced ? { namespace: TEAM } : {}), name });
  const cluster: DoctorCluster = {
    change: async (type, name, patch, subresource) => {
      await client.patch(type, keyOf(type, name), patch, {
        type: 'merge',
        ...(subresource === undefined ? {} : { subresource }),
      });
    },
    remove: (type, name) => client.delete(type, keyOf(type, name), { gracePeriodSeconds: 0 }),
    make: async (type, draft) => {
      const { metadata = {}, status, ...rest } = draft as { metadata?: Draft; status?: Draft };
      const object = {
        apiVersion: type.group === '' ? type.version : `${type.group}/${type.version}`,
        kind: type.kind,
        metadata: { ...(type.namespaced ? { namespace: TEAM } : {}), ...metadata },
        ...rest,
      } as unknown as KubernetesObject;
      const made = await client.create(type, object);
      const { namespace, name } = made.metadata;
      const key = { ...(namespace === undefined ? {} : { namespace }), name };
      if (status !== undefined) await client.patch(type, key, { status }, { type: 'merge', subresource: 'status' });
      return made;
    },
    remake: async (type, name, edit, meanwhile) => {
      const { metadata, ...draft } = await client.get<KubernetesObject>(type, keyOf(type, name));
      const { labels, annotations, ownerReferences } = metadata;
      const again: Draft = structuredClone({ ...draft, metadata: { name, labels, annotations, ownerReferences } });
      edit(again);
      await cluster.remove(type, name);
      await meanwhile?.();
      await cluster.make(type, again);
    },
  };
  return cluster;
}

/** A new server refuses lists of custom resources for a moment. */
export async function untilListing(client: HttpResourceClient): Promise<void> {
  for (const type of TYPES)
    await until(`${type.plural} are listed`, () =>
      client.list(type).then(
        () => true,
        () => false,
      ),
    );
}

/** Leaves exactly the healthy cluster on the server, whatever was there of it. */
export async function makeHealthy(client: HttpResourceClient): Promise<void> {
  const team: KubernetesObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: TEAM } };
  await client.create(NAMESPACES, team).catch(unlessThere);
  for (const type of TYPES.toReversed())
    for (const { metadata } of (await client.list(type)).items)
      if (metadata.namespace === undefined || metadata.namespace === TEAM || metadata.namespace === SYSTEM)
        await client.delete(type, metadata, { gracePeriodSeconds: 0 });
  const cluster = doctorCluster(client);
  await makePlatform(cluster);
  await cluster.make(SANDBOX_TEMPLATES, {
    metadata: { name: 'python' },
    spec: { podTemplate: { metadata: { labels: LABELS }, spec: SPEC } },
  });
  await cluster.make(SANDBOX_WARM_POOLS, {
    metadata: { name: 'python' },
    spec: { replicas: 1, sandboxTemplateRef: { name: 'python' } },
    status: { replicas: 1, readyReplicas: 1 },
  });
  await makeSandbox(cluster, 'python-pooled', { [WARM_POOL_LABEL]: nameHash('python') });
  await makeSandbox(cluster, 'box-running', {});
  for (let number = 1; number <= 5; number++) {
    const name = `python-claimed-${number}`;
    await makeSandbox(cluster, name, { 'agents.x-k8s.io/launch-type': 'warm' });
    await cluster.make(SANDBOX_CLAIMS, {
      metadata: { name: `claim-${number}` },
      spec: { warmPoolRef: { name: 'python' } },
      status: { sandbox: { name } },
    });
  }
  await cluster.make(SANDBOXES, {
    metadata: { name: 'box-paused' },
    spec: { operatingMode: 'Suspended', podTemplate: { metadata: { labels: LABELS }, spec: SPEC } },
  });
  await cluster.make(POD_SNAPSHOTS, {
    metadata: { name: 'box-paused-1', labels: { [NAME_HASH_LABEL]: nameHash('box-paused') } },
    status: READY,
  });
}

async function makePlatform(cluster: DoctorCluster): Promise<void> {
  await cluster.make(RUNTIME_CLASSES, {
    metadata: { name: 'gvisor' },
    handler: 'runsc',
    overhead: { podFixed: { cpu: '10m', memory: '32Mi' } },
    scheduling: { nodeSelector: { 'sandbox.gke.io/runtime': 'gvisor' } },
  });
  await makeNode(cluster, 'sandboxes-1', 'amd64');
  await cluster.make(NETWORK_POLICIES, {
    metadata: { name: 'sandboxes' },
    spec: {
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
      ingress: [
        {
          from: [
            {
              namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': SYSTEM } },
              podSelector: { matchLabels: { app: 'sandbox-router' } },
            },
          ],
          ports: [{ protocol: 'TCP', port: 'http' }],
        },
      ],
      egress: [],
    },
  });
  await cluster.make(POD_SNAPSHOT_STORAGE_CONFIGS, { metadata: { name: 'bucket' }, spec: {} });
  await cluster.make(POD_SNAPSHOT_POLICIES, {
    metadata: { name: 'sandboxes' },
    spec: { storageConfigName: 'bucket', selector: { matchLabels: { team: 'a' } } },
  });
  await cluster.make(PODS, {
    metadata: {
      namespace: SYSTEM,
      name: 'sandbox-router-1',
      labels: { app: 'sandbox-router', 'pod-template-hash': 'x' },
    },
    spec: { serviceAccountName: 'sandbox-router', containers: [{ name: 'router', image: 'router' }] },
    status: { phase: 'Running', podIP: '10.0.0.9', ...READY },
  });
}

/** A node with gVisor, Ready, with room for 15 sandboxes by CPU and 31 by memory. */
export async function makeNode(cluster: DoctorCluster, name: string, architecture: string): Promise<void> {
  await cluster.make(NODES, {
    metadata: { name, labels: { 'sandbox.gke.io/runtime': 'gvisor', 'kubernetes.io/arch': architecture } },
    status: { allocatable: { cpu: '3920m', memory: '16Gi', pods: '110' }, ...READY },
  });
}

/** A running Sandbox and its Pod. */
export async function makeSandbox(cluster: DoctorCluster, name: string, labels: Record<string, string>): Promise<void> {
  const { metadata } = await cluster.make(SANDBOXES, {
    metadata: { name, labels, annotations: { [IDLE_TIMEOUT_ANNOTATION]: '10m' } },
    spec: { podTemplate: { metadata: { labels: LABELS }, spec: SPEC } },
    status: READY,
  });
  const owner = { apiVersion: 'agents.x-k8s.io/v1beta1', kind: 'Sandbox', name, uid: metadata.uid, controller: true };
  const pool = labels[WARM_POOL_LABEL];
  await cluster.make(PODS, {
    metadata: {
      name,
      labels: {
        ...LABELS,
        [NAME_HASH_LABEL]: nameHash(name),
        [TEMPLATE_REF_HASH_LABEL]: nameHash('python'),
        ...(pool === undefined ? {} : { [WARM_POOL_LABEL]: pool }),
      },
      ownerReferences: [owner],
    },
    spec: SPEC,
    status: { phase: 'Running', podIP: '10.1.0.1', ...READY },
  });
}

function unlessThere(error: unknown): void {
  if (!isApiError(error, 'AlreadyExists')) throw error;
}
