import type { Facts, ListedTypes, ListName } from '../../../src/cli/doctor/facts.ts';
import type { NetworkPolicy, Pod, PodSnapshot, Sandbox, SandboxClaim } from '../../../src/kubernetes/index.ts';
import { NAME_HASH_LABEL, nameHash } from '../../../src/kubernetes/index.ts';

const NAMES: readonly ListName[] = [
  'sandboxes',
  'pods',
  'templates',
  'claims',
  'pools',
  'policies',
  'runtimeClasses',
  'nodes',
  'routerNamespaces',
  'routerPods',
  'snapshots',
  'snapshotPolicies',
  'snapshotStorageConfigs',
];

/** Facts of a cluster with these objects and nothing else. */
export function factsWith(lists: { [Name in ListName]?: ListedTypes[Name][] }, changes: Partial<Facts> = {}): Facts {
  return {
    server: { version: 'v1.34.0', isEngine: false },
    namespace: undefined,
    router: { namespace: 'agent-sandbox-system', labels: { app: 'sandbox-router' } },
    served: { sandboxes: ['v1beta1'], extensions: ['v1beta1'], podSnapshots: ['v1'], gkeSandboxes: [] },
    lists: Object.fromEntries(NAMES.map((name) => [name, { items: lists[name] ?? [] }])) as unknown as Facts['lists'],
    rights: { of: undefined, answers: [] },
    ...changes,
  };
}

/** The same facts, with a list that could not be read. */
export function withUnread(facts: Facts, name: ListName, cause: 'forbidden' | 'not-served'): Facts {
  const unread = { cause, reason: `${name} ${cause}`, fix: 'a fix' };
  return { ...facts, lists: { ...facts.lists, [name]: { items: [], unread } } };
}

/** A Sandbox of namespace `team`. */
export function sandbox(
  name: string,
  spec: Partial<Sandbox['spec']> = {},
  more: Partial<Sandbox['metadata']> = {},
): Sandbox {
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: { namespace: 'team', name, uid: `uid-${name}`, ...more },
    spec: { podTemplate: { spec: { containers: [] } }, ...spec },
  };
}

/** A snapshot of a Sandbox, made so many seconds after another. */
export function snapshot(name: string, of: string, second: number, ready: boolean): PodSnapshot {
  return {
    apiVersion: 'podsnapshot.gke.io/v1',
    kind: 'PodSnapshot',
    metadata: {
      namespace: 'team',
      name,
      labels: { [NAME_HASH_LABEL]: nameHash(of) },
      creationTimestamp: new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString(),
    },
    status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
  };
}

/** A NetworkPolicy of namespace `team` that selects every pod. */
export function policy(spec: Partial<NetworkPolicy['spec']>): NetworkPolicy {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: 'team', name: 'policy' },
    spec: { podSelector: {}, ...spec },
  };
}

/** The Pod of a Sandbox. */
export function podOf({ metadata, spec }: Sandbox, labels: Record<string, string> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: 'team',
      name: metadata.name,
      labels: { [NAME_HASH_LABEL]: nameHash(metadata.name), ...labels },
      ownerReferences: [
        {
          apiVersion: 'agents.x-k8s.io/v1beta1',
          kind: 'Sandbox',
          name: metadata.name,
          uid: metadata.uid ?? '',
          controller: true,
        },
      ],
    },
    spec: spec.podTemplate.spec,
    status: { phase: 'Running' },
  };
}

/** A claim on pool `pool` that was given a Sandbox. */
export function claim(name: string, of: string, env: SandboxClaim['spec']['env'] = []): SandboxClaim {
  return {
    apiVersion: 'extensions.agents.x-k8s.io/v1beta1',
    kind: 'SandboxClaim',
    metadata: { namespace: 'team', name },
    spec: { warmPoolRef: { name: 'pool' }, env },
    status: { sandbox: { name: of } },
  };
}
