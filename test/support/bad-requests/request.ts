/** One request that must be refused, and the words that must be in the answer. */
export interface BadRequest {
  name: string;
  method: string;
  path: string;
  headers?: Record<string, string>;
  /** Objects are sent as JSON. */
  body?: object | string | Buffer;
  /** Sends the body without saying how long it is. */
  chunked?: boolean;
  status: number;
  reason: string;
  /** Must name what is wrong: the field, and what would be right. */
  message: RegExp | RegExp[];
}

export const SANDBOXES = '/apis/agents.x-k8s.io/v1beta1/namespaces/default/sandboxes';
export const PODS = '/api/v1/namespaces/default/pods';
export const MAPS = '/api/v1/namespaces/default/configmaps';
export const SECRETS = '/api/v1/namespaces/default/secrets';
export const POLICIES = '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies';
export const CLAIMS = '/apis/extensions.agents.x-k8s.io/v1beta1/namespaces/default/sandboxclaims';
export const POOLS = '/apis/extensions.agents.x-k8s.io/v1beta1/namespaces/default/sandboxwarmpools';
export const TEMPLATES = '/apis/extensions.agents.x-k8s.io/v1beta1/namespaces/default/sandboxtemplates';
export const TRIGGERS = '/apis/podsnapshot.gke.io/v1/namespaces/default/podsnapshotmanualtriggers';

export const TOOLBOX = 'sandbox-router.local/toolbox';
export const container = (more: object = {}) => ({ name: 'main', image: TOOLBOX, ...more });
export const podSpec = (more: object = {}, inContainer: object = {}) => ({
  containers: [container(inContainer)],
  ...more,
});

/** A Sandbox that is right but for what is given. */
export function sandbox({ spec = {}, pod = {}, main = {}, metadata = {} }: Record<string, object> = {}): object {
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: { name: 'bad', namespace: 'default', ...metadata },
    spec: { operatingMode: 'Suspended', podTemplate: { spec: podSpec(pod, main) }, ...spec },
  };
}

export function map(more: object, metadata: object = {}): object {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'bad', ...metadata }, ...more };
}

/** What is there before: by the path to which it is posted. */
export const OBJECTS: Record<string, object> = {
  [MAPS]: map({ data: { colour: 'red' } }, { name: 'good' }),
  [SANDBOXES]: sandbox({ metadata: { name: 'good' } }),
};

export const merge = { 'content-type': 'application/merge-patch+json' };
export const json = { 'content-type': 'application/json-patch+json' };
export const strategic = { 'content-type': 'application/strategic-merge-patch+json' };
export const apply = { 'content-type': 'application/apply-patch+yaml' };

export const create = (name: string, path: string, body: object | string | Buffer, message: BadRequest['message']) =>
  ({ name, method: 'POST', path, body, status: 422, reason: 'Invalid', message }) satisfies BadRequest;
export const patch = (
  name: string,
  path: string,
  headers: Record<string, string>,
  body: object | string,
  message: BadRequest['message'],
) => ({ name, method: 'PATCH', path, headers, body, status: 422, reason: 'Invalid', message }) satisfies BadRequest;
export const badRequest = (bad: Omit<BadRequest, 'status' | 'reason'>): BadRequest => ({
  ...bad,
  status: 400,
  reason: 'BadRequest',
});
export const list = (name: string, path: string, message: BadRequest['message']) =>
  badRequest({ name, method: 'GET', path, message });

export const volume = (name: string, source: object, mountPath = '/data') =>
  sandbox({ pod: { volumes: [{ name, ...source }] }, main: { volumeMounts: [{ name, mountPath }] } });
