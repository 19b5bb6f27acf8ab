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

/** Types whose manifests the CLI applies by kind. */
export const KNOWN_RESOURCES: readonly ResourceType[] = [SANDBOXES, PODS, NAMESPACES, EVENTS, SERVICES];
