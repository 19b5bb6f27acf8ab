import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import {
  type HttpResourceClient,
  type KubernetesObject,
  NAMESPACES,
  type ResourceType,
  servedVersions,
} from '../../src/kubernetes/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { until } from '../support/until.ts';
import { type Draft, doctorCluster, SYSTEM } from './doctor-cluster.ts';

const rbacType = (plural: string, kind: string, namespaced: boolean): ResourceType => ({
  group: 'rbac.authorization.k8s.io',
  version: 'v1',
  plural,
  kind,
  namespaced,
});
const CLUSTER_ROLES = rbacType('clusterroles', 'ClusterRole', false);
/** What binds a ClusterRole to someone everywhere. */
export const CLUSTER_ROLE_BINDINGS = rbacType('clusterrolebindings', 'ClusterRoleBinding', false);
const RBAC_TYPES = [
  CLUSTER_ROLES,
  CLUSTER_ROLE_BINDINGS,
  rbacType('roles', 'Role', true),
  rbacType('rolebindings', 'RoleBinding', true),
];

/** The manifests in deploy/ that give the router its rights. */
const RBAC_MANIFESTS = [
  'base/rbac-read.yaml',
  'base/rbac-wake.yaml',
  'base/rbac-ledger.yaml',
  'base/rbac-leases.yaml',
  'components/gke/rbac-snapshots.yaml',
];

/** Gives the ServiceAccount of the router what deploy/ gives it. */
export async function applyRouterRights(client: HttpResourceClient): Promise<void> {
  const cluster = doctorCluster(client);
  await cluster.make(NAMESPACES, { metadata: { name: SYSTEM } });
  for (const path of RBAC_MANIFESTS)
    for (const document of parseAllDocuments(readFileSync(join(projectRoot, 'deploy/kustomize', path), 'utf8'))) {
      const draft = document.toJS() as Draft;
      const type = RBAC_TYPES.find(({ kind }) => kind === draft.kind);
      if (type === undefined) throw new Error(`${path} has a ${draft.kind}.`);
      const metadata = { ...(type.namespaced ? { namespace: SYSTEM } : {}), ...(draft.metadata as Draft) };
      await cluster.make(type, { ...draft, metadata });
    }
}

/** Gives the user `router` the right to read what doctor reads, but not nodes, and no right to change anything. */
export async function allowReader(client: HttpResourceClient): Promise<void> {
  const cluster = doctorCluster(client);
  const metadata = { name: 'doctor' };
  const verbs = ['get', 'list', 'watch'];
  const resources = ['pods', 'namespaces', 'networkpolicies', 'runtimeclasses'];
  await cluster.make(CLUSTER_ROLES, {
    metadata,
    rules: [
      { apiGroups: ['agents.x-k8s.io', 'extensions.agents.x-k8s.io', 'podsnapshot.gke.io'], resources: ['*'], verbs },
      { apiGroups: ['', 'networking.k8s.io', 'node.k8s.io'], resources, verbs },
    ],
  });
  const { group } = CLUSTER_ROLES;
  await cluster.make(CLUSTER_ROLE_BINDINGS, {
    metadata,
    roleRef: { apiGroup: group, kind: 'ClusterRole', name: 'doctor' },
    subjects: [{ apiGroup: group, kind: 'User', name: 'router' }],
  });
}

/** Changes in which versions a custom resource is served; waits until the server says so. */
export async function serveVersions(
  client: HttpResourceClient,
  type: ResourceType,
  served: readonly string[],
): Promise<void> {
  const definitions: ResourceType = {
    group: 'apiextensions.k8s.io',
    version: 'v1',
    plural: 'customresourcedefinitions',
    kind: 'CustomResourceDefinition',
    namespaced: false,
  };
  const key = { name: `${type.plural}.${type.group}` };
  const definition = await client.get<KubernetesObject & { spec: { versions: { name: string }[] } }>(definitions, key);
  const stored = definition.spec.versions.find(({ name }) => name === type.version);
  const versions = [
    { ...stored, served: served.includes(type.version) },
    ...served
      .filter((name) => name !== type.version)
      .map((name) => ({ ...stored, name, served: true, storage: false })),
  ];
  await client.patch(definitions, key, { spec: { versions } }, { type: 'merge' });
  await until(`${key.name} is served as ${served}`, async () => {
    const now = await servedVersions(client, type.group, type.plural);
    return now.join() === served.join();
  });
  // What is gone from discovery is answered for a moment yet, and the other way round.
  for (const version of new Set([type.version, ...served]))
    await until(`${key.name} answers as ${served}`, async () => {
      const answers = await client.list({ ...type, version }).then(
        () => true,
        () => false,
      );
      return answers === served.includes(version);
    });
}
