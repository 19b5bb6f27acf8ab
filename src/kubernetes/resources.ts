import type { ResourceType } from './client.ts';

/** agents.x-k8s.io/v1beta1 Sandbox. */
export const SANDBOXES: ResourceType = {
  group: 'agents.x-k8s.io',
  version: 'v1beta1',
  plural: 'sandboxes',
  kind: 'Sandbox',
  namespaced: true,
};
/** v1 Pod. */
export const PODS: ResourceType = { group: '', version: 'v1', plural: 'pods', kind: 'Pod', namespaced: true };
/** v1 Namespace. */
export const NAMESPACES: ResourceType = {
  group: '',
  version: 'v1',
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
};
/** v1 Event. */
export const EVENTS: ResourceType = { group: '', version: 'v1', plural: 'events', kind: 'Event', namespaced: true };
/** v1 Service. */
export const SERVICES: ResourceType = {
  group: '',
  version: 'v1',
  plural: 'services',
  kind: 'Service',
  namespaced: true,
};

/** v1 PersistentVolumeClaim. */
export const CONFIG_MAPS: ResourceType = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};

export const SECRETS: ResourceType = {
  group: '',
  version: 'v1',
  plural: 'secrets',
  kind: 'Secret',
  namespaced: true,
};

export const PERSISTENT_VOLUME_CLAIMS: ResourceType = {
  group: '',
  version: 'v1',
  plural: 'persistentvolumeclaims',
  kind: 'PersistentVolumeClaim',
  namespaced: true,
};

/** `apiVersion` of a type's objects: `v1`, `agents.x-k8s.io/v1beta1`. */
export function apiVersionOf(type: ResourceType): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

/** API path of a collection or object, percent-encoded: `/apis/agents.x-k8s.io/v1beta1/namespaces/default/sandboxes/counter`. */
export function apiPath(type: ResourceType, namespace?: string, name?: string, subresource?: string): string {
  const root = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  const scope = type.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  const object = name === undefined ? '' : `/${encodeURIComponent(name)}`;
  return `${root}${scope}/${type.plural}${object}${subresource === undefined ? '' : `/${subresource}`}`;
}

/** v1 Node. */
export const NODES: ResourceType = {
  group: '',
  version: 'v1',
  plural: 'nodes',
  kind: 'Node',
  namespaced: false,
};
/** node.k8s.io/v1 RuntimeClass. */
export const RUNTIME_CLASSES: ResourceType = {
  group: 'node.k8s.io',
  version: 'v1',
  plural: 'runtimeclasses',
  kind: 'RuntimeClass',
  namespaced: false,
};
/** networking.k8s.io/v1 NetworkPolicy. */
export const NETWORK_POLICIES: ResourceType = {
  group: 'networking.k8s.io',
  version: 'v1',
  plural: 'networkpolicies',
  kind: 'NetworkPolicy',
  namespaced: true,
};
/** extensions.agents.x-k8s.io/v1beta1 SandboxTemplate. */
export const SANDBOX_TEMPLATES: ResourceType = {
  group: 'extensions.agents.x-k8s.io',
  version: 'v1beta1',
  plural: 'sandboxtemplates',
  kind: 'SandboxTemplate',
  namespaced: true,
};
/** extensions.agents.x-k8s.io/v1beta1 SandboxClaim. */
export const SANDBOX_CLAIMS: ResourceType = {
  group: 'extensions.agents.x-k8s.io',
  version: 'v1beta1',
  plural: 'sandboxclaims',
  kind: 'SandboxClaim',
  namespaced: true,
};
/** extensions.agents.x-k8s.io/v1beta1 SandboxWarmPool. */
export const SANDBOX_WARM_POOLS: ResourceType = {
  group: 'extensions.agents.x-k8s.io',
  version: 'v1beta1',
  plural: 'sandboxwarmpools',
  kind: 'SandboxWarmPool',
  namespaced: true,
};
/** coordination.k8s.io/v1 Lease. */
export const LEASES: ResourceType = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
};
/** podsnapshot.gke.io/v1 PodSnapshotManualTrigger. */
export const POD_SNAPSHOT_MANUAL_TRIGGERS: ResourceType = {
  group: 'podsnapshot.gke.io',
  version: 'v1',
  plural: 'podsnapshotmanualtriggers',
  kind: 'PodSnapshotManualTrigger',
  namespaced: true,
};
/** podsnapshot.gke.io/v1 PodSnapshot. */
export const POD_SNAPSHOTS: ResourceType = {
  group: 'podsnapshot.gke.io',
  version: 'v1',
  plural: 'podsnapshots',
  kind: 'PodSnapshot',
  namespaced: true,
};
/** podsnapshot.gke.io/v1 PodSnapshotPolicy. */
export const POD_SNAPSHOT_POLICIES: ResourceType = {
  group: 'podsnapshot.gke.io',
  version: 'v1',
  plural: 'podsnapshotpolicies',
  kind: 'PodSnapshotPolicy',
  namespaced: true,
};
/** podsnapshot.gke.io/v1 PodSnapshotStorageConfig. */
export const POD_SNAPSHOT_STORAGE_CONFIGS: ResourceType = {
  group: 'podsnapshot.gke.io',
  version: 'v1',
  plural: 'podsnapshotstorageconfigs',
  kind: 'PodSnapshotStorageConfig',
  namespaced: true,
};
/** authorization.k8s.io/v1 SelfSubjectAccessReview: a question about the caller's rights; nothing is stored. */
export const SELF_SUBJECT_ACCESS_REVIEWS: ResourceType = {
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'selfsubjectaccessreviews',
  kind: 'SelfSubjectAccessReview',
  namespaced: false,
};
/** authentication.k8s.io/v1 TokenReview: whose token this is; nothing is stored. */
export const TOKEN_REVIEWS: ResourceType = {
  group: 'authentication.k8s.io',
  version: 'v1',
  plural: 'tokenreviews',
  kind: 'TokenReview',
  namespaced: false,
};
/** authorization.k8s.io/v1 SubjectAccessReview: a question about somebody's rights; nothing is stored. */
export const SUBJECT_ACCESS_REVIEWS: ResourceType = {
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'subjectaccessreviews',
  kind: 'SubjectAccessReview',
  namespaced: false,
};

/** Types whose manifests the CLI applies by kind. */
export const KNOWN_RESOURCES: readonly ResourceType[] = [
  SANDBOXES,
  PODS,
  NAMESPACES,
  EVENTS,
  SERVICES,
  PERSISTENT_VOLUME_CLAIMS,
  NETWORK_POLICIES,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOX_CLAIMS,
];
