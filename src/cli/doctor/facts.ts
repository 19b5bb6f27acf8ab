import type {
  KubernetesObject,
  Namespace,
  NetworkPolicy,
  Node,
  Pod,
  PodSnapshot,
  PodSnapshotPolicy,
  RuntimeClass,
  Sandbox,
  SandboxClaim,
  SandboxTemplate,
  SandboxWarmPool,
} from '../../kubernetes/index.ts';
import type { Right } from './rights.ts';

/** What is listed, and of which type its objects are. */
export interface ListedTypes {
  sandboxes: Sandbox;
  /** Only those that carry a sandbox's name hash. */
  pods: Pod;
  templates: SandboxTemplate;
  claims: SandboxClaim;
  pools: SandboxWarmPool;
  policies: NetworkPolicy;
  runtimeClasses: RuntimeClass;
  nodes: Node;
  /** The one namespace of the router. */
  routerNamespaces: Namespace;
  routerPods: Pod;
  snapshots: PodSnapshot;
  snapshotPolicies: PodSnapshotPolicy;
  snapshotStorageConfigs: KubernetesObject;
}

/** Names of the lists. */
export type ListName = keyof ListedTypes;

/** Why a list could not be read, and what would change that. */
export interface Unread {
  cause: 'forbidden' | 'not-served';
  reason: string;
  fix: string;
}

/** A list as it was read; empty where it could not be. */
export interface Listing<T> {
  items: readonly T[];
  unread?: Unread;
}

/** Versions in which the groups are served, empty where they are not; undefined where discovery itself is forbidden. */
export interface ServedVersions {
  sandboxes: readonly string[];
  extensions: readonly string[];
  podSnapshots: readonly string[];
  gkeSandboxes: readonly string[];
}

/** A right that the router needs, and whether it is there; undefined: the server would not say. */
export interface RightAnswer {
  right: Right;
  allowed: boolean | undefined;
}

/** Everything the checks judge: read once, then only looked at. */
export interface Facts {
  server: {
    /** `v1.34.0`; undefined where reading it is forbidden. */
    version: string | undefined;
    /** Whether it is the engine of `sandbox-router up` and no cluster. */
    isEngine: boolean;
  };
  /** The namespace looked at; undefined: all. */
  namespace: string | undefined;
  router: { namespace: string; labels: Readonly<Record<string, string>> };
  served: ServedVersions | undefined;
  lists: { readonly [Name in ListName]: Listing<ListedTypes[Name]> };
  /** `of` is the ServiceAccount that they are of; undefined: of whoever asks. */
  rights: { of: string | undefined; answers: readonly RightAnswer[] };
}
