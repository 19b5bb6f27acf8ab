import { apiVersion, type Kind, type KindVersion, type ReviewKind } from '../kinds/index.ts';
import { scaleOf } from '../operations/scale.ts';

/** Everything that discovery tells of: stored kinds and reviews. */
export interface DiscoverySource {
  kinds: readonly Kind[];
  reviews: readonly ReviewKind[];
}

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

interface Resource {
  name: string;
  singularName: string;
  namespaced: boolean;
  kind: string;
  verbs: string[];
  shortNames?: string[];
  categories?: string[];
  group?: string;
  version?: string;
}

/** `/api` and `/apis`, one version, one group, and all at once (aggregated). */
export interface Discovery {
  legacy: unknown;
  groups: unknown;
  group: (name: string) => unknown;
  resources: (group: string, version: string) => unknown;
  aggregated: (legacy: boolean) => unknown;
}

/** Builds every discovery document once. */
export function createDiscovery(source: DiscoverySource): Discovery {
  const versions = new Map<string, string[]>();
  const resources = new Map<string, Resource[]>();
  const add = (group: string, version: string, found: Resource[]) => {
    const known = versions.get(group) ?? [];
    if (!known.includes(version)) versions.set(group, [...known, version]);
    const key = apiVersion(group, version);
    resources.set(key, [...(resources.get(key) ?? []), ...found]);
  };
  for (const kind of source.kinds)
    for (const version of kind.versions) add(kind.group, version.version, resourcesOf(kind, version));
  for (const review of source.reviews)
    add(review.group, review.version, [
      {
        name: review.plural,
        singularName: review.kind.toLowerCase(),
        namespaced: false,
        kind: review.kind,
        verbs: ['create'],
      },
    ]);

  const groupOf = (name: string) => {
    const known = (versions.get(name) ?? []).map((version) => ({ groupVersion: apiVersion(name, version), version }));
    return known.length === 0 ? undefined : { name, versions: known, preferredVersion: known[0] };
  };
  const named = [...versions.keys()].filter((name) => name !== '').map(groupOf);
  return {
    legacy: { kind: 'APIVersions', versions: versions.get('') ?? [], serverAddressByClientCIDRs: [] },
    groups: { kind: 'APIGroupList', apiVersion: 'v1', groups: named },
    group: (name) => {
      const found = name === '' ? undefined : groupOf(name);
      return found === undefined ? undefined : { kind: 'APIGroup', apiVersion: 'v1', ...found };
    },
    resources: (group, version) => {
      const found = resources.get(apiVersion(group, version));
      return found === undefined
        ? undefined
        : { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: apiVersion(group, version), resources: found };
    },
    aggregated: (legacy) => ({
      kind: 'APIGroupDiscoveryList',
      apiVersion: 'apidiscovery.k8s.io/v2',
      metadata: {},
      items: [...versions.entries()]
        .filter(([group]) => (group === '') === legacy)
        .map(([group, served]) => ({
          metadata: group === '' ? {} : { name: group },
          versions: served.map((version) => ({
            version,
            freshness: 'Current',
            resources: aggregate(group, version, resources.get(apiVersion(group, version)) ?? []),
          })),
        })),
    }),
  };
}

function resourcesOf(kind: Kind, version: KindVersion): Resource[] {
  const main: Resource = {
    name: kind.plural,
    singularName: kind.singular,
    namespaced: kind.namespaced,
    kind: kind.kind,
    verbs: kind.deleteCollection === false ? VERBS.filter((verb) => verb !== 'deletecollection') : VERBS,
    ...(kind.shortNames === undefined ? {} : { shortNames: kind.shortNames }),
    ...(kind.categories === undefined ? {} : { categories: kind.categories }),
  };
  const part = (name: string, partKind: string, verbs: string[], more: object = {}): Resource => ({
    name: `${kind.plural}/${name}`,
    singularName: '',
    namespaced: kind.namespaced,
    kind: partKind,
    verbs,
    ...more,
  });
  return [
    main,
    ...(kind.status ? [part('status', kind.kind, ['get', 'patch', 'update'])] : []),
    ...(scaleOf({ kind, version }) === undefined
      ? []
      : [part('scale', 'Scale', ['get', 'patch', 'update'], { group: 'autoscaling', version: 'v1' })]),
    ...(kind.kind === 'Pod'
      ? [
          part('log', 'Pod', ['get']),
          part('exec', 'PodExecOptions', ['create', 'get']),
          part('attach', 'PodAttachOptions', ['create', 'get']),
          part('portforward', 'PodPortForwardOptions', ['create', 'get']),
        ]
      : []),
  ];
}

/** Nests subresources below their resource, as the aggregated form wants it. */
function aggregate(group: string, version: string, resources: Resource[]): unknown[] {
  const responseKind = (resource: Resource) => ({
    group: resource.group ?? group,
    version: resource.version ?? version,
    kind: resource.kind,
  });
  return resources
    .filter(({ name }) => !name.includes('/'))
    .map((resource) => {
      const parts = resources.filter(({ name }) => name.startsWith(`${resource.name}/`));
      return {
        resource: resource.name,
        responseKind: responseKind(resource),
        scope: resource.namespaced ? 'Namespaced' : 'Cluster',
        singularResource: resource.singularName,
        verbs: resource.verbs,
        ...(resource.shortNames === undefined ? {} : { shortNames: resource.shortNames }),
        ...(resource.categories === undefined ? {} : { categories: resource.categories }),
        ...(parts.length === 0
          ? {}
          : {
              subresources: parts.map((part) => ({
                subresource: part.name.slice(resource.name.length + 1),
                responseKind: responseKind(part),
                verbs: part.verbs,
              })),
            }),
      };
    });
}
