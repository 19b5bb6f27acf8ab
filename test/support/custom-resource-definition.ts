import type { Kind } from '../../src/engine/api/kinds/kind.ts';
import type { KubernetesObject } from '../../src/kubernetes/index.ts';

/** The CustomResourceDefinition of a kind that the engine serves: a cluster validates by the same schema. */
export function customResourceDefinition(kind: Kind): KubernetesObject {
  const { group, plural, singular, shortNames, categories, scale } = kind;
  const [stored] = kind.versions;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${plural}.${group}`,
      ...(group.endsWith('.k8s.io') ? { annotations: { 'api-approved.kubernetes.io': 'unapproved, tests only' } } : {}),
    },
    spec: {
      group,
      scope: kind.namespaced ? 'Namespaced' : 'Cluster',
      names: {
        kind: kind.kind,
        plural,
        singular,
        ...(shortNames ? { shortNames } : {}),
        ...(categories ? { categories } : {}),
      },
      // One version: a cluster needs a webhook to convert between several.
      versions: [
        {
          name: stored.version,
          served: true,
          storage: true,
          schema: { openAPIV3Schema: withoutMetadata(stored.schema) },
          subresources: {
            ...(kind.status ? { status: {} } : {}),
            ...(scale
              ? {
                  scale: {
                    specReplicasPath: `.spec.${scale.specReplicas}`,
                    statusReplicasPath: `.status.${scale.statusReplicas}`,
                    labelSelectorPath: `.status.${scale.statusSelector}`,
                  },
                }
              : {}),
          },
        },
      ],
    },
  } as unknown as KubernetesObject;
}

/** A CRD says nothing of `metadata`: that is the API server's own. */
function withoutMetadata(schema: Kind['versions'][0]['schema']): unknown {
  const { metadata: _own, apiVersion: _apiVersion, kind: _kind, ...properties } = schema.properties ?? {};
  return { ...schema, properties, required: (schema.required ?? []).filter((name) => name in properties) };
}
