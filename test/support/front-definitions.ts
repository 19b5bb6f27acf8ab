import type { KubernetesObject } from '../../src/kubernetes/index.ts';

type Schema = Record<string, unknown>;

const string: Schema = { type: 'string' };
const port: Schema = { type: 'integer', minimum: 1, maximum: 65_535 };
const texts: Schema = { type: 'object', additionalProperties: string };
const list = (items: Schema): Schema => ({ type: 'array', items });
const object = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
  type: 'object',
  properties,
  ...(required.length > 0 ? { required } : {}),
});

const reference = { group: string, kind: string, namespace: string, name: string };
/** gateway.networking.k8s.io/v1, as far as a plain route goes: GEP-2257 durations, RFC 1123 host names with a wildcard in front. */
const duration: Schema = { type: 'string', pattern: '^([0-9]{1,5}(h|m|s|ms)){1,4}$' };
const hostname: Schema = {
  type: 'string',
  maxLength: 253,
  pattern: '^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
};

const httpRoute = object({
  parentRefs: list(object({ ...reference, sectionName: string, port }, ['name'])),
  hostnames: list(hostname),
  rules: list(
    object({
      name: string,
      backendRefs: list(object({ ...reference, port, weight: { type: 'integer' } }, ['name'])),
      timeouts: object({ request: duration, backendRequest: duration }),
    }),
  ),
});

const serviceMonitor = object(
  {
    selector: object({ matchLabels: texts }),
    endpoints: list(object({ port: string, path: string, interval: duration, scheme: string })),
  },
  ['selector', 'endpoints'],
);

/** Small definitions of kinds that other projects bring to a cluster, with the fields that deploy/ uses and no others: an unknown field is refused. */
export const FRONT_DEFINITIONS: readonly KubernetesObject[] = [
  definition('gateway.networking.k8s.io', 'v1', 'HTTPRoute', 'httproutes', httpRoute),
  definition('monitoring.coreos.com', 'v1', 'ServiceMonitor', 'servicemonitors', serviceMonitor),
];

function definition(group: string, version: string, kind: string, plural: string, spec: Schema): KubernetesObject {
  const schema = object({ spec }, ['spec']);
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${plural}.${group}`,
      ...(group.endsWith('.k8s.io') ? { annotations: { 'api-approved.kubernetes.io': 'unapproved, tests only' } } : {}),
    },
    spec: {
      group,
      scope: 'Namespaced',
      names: { kind, plural, singular: kind.toLowerCase() },
      versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  } as unknown as KubernetesObject;
}
