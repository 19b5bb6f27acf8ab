import { setTimeout as delay } from 'node:timers/promises';
import {
  apiPath,
  type HttpResourceClient,
  isApiError,
  type KubernetesObject,
  type ListOptions,
  NAME_HASH_LABEL,
  NAMESPACES,
  NETWORK_POLICIES,
  NODES,
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
  servedVersions,
} from '../../kubernetes/index.ts';
import { askRights, serviceAccountOf } from './ask-rights.ts';
import type { Facts, ListedTypes, Listing, ServedVersions } from './facts.ts';
import { rightsOfRouter } from './rights.ts';
import { unlessForbidden } from './unless-forbidden.ts';

/** What of the API reading needs: nothing that changes anything but `create`, used for access reviews alone, which are not stored. */
export type FactsClient = Pick<HttpResourceClient, 'list' | 'read' | 'create'>;

/** Where to look. */
export interface FactsScope {
  /** Without it: all namespaces. */
  namespace?: string;
  routerNamespace: string;
  routerLabels: Readonly<Record<string, string>>;
}

const PAGE_SIZE = 500;
const MOST_ATTEMPTS = 5;
const LONGEST_REST_SECONDS = 5;

/**
 * Reads everything that the checks judge. What may not be read, or is not served, is said in the facts.
 * @throws ApiError where the server can't be reached or does not know who asks
 */
export async function readFacts(client: FactsClient, scope: FactsScope): Promise<Facts> {
  const version = await unlessForbidden(client.read<{ gitVersion?: string }>('/version'));
  const served = await unlessForbidden(readServedVersions(client));
  const inScope: ListOptions = scope.namespace === undefined ? {} : { namespace: scope.namespace };
  const sandboxType = typeAs(SANDBOXES, served?.sandboxes);
  const read = <Name extends keyof ListedTypes>(type: ResourceType, options: ListOptions = inScope) =>
    readListing<ListedTypes[Name]>(client, type, options);
  const extension = (type: ResourceType) => typeAs(type, served?.extensions);
  const snapshotType = (type: ResourceType) => typeAs(type, served?.podSnapshots);
  const selector = Object.entries(scope.routerLabels).map(([key, value]) => `${key}=${value}`);
  const named = { fieldSelector: `metadata.name=${scope.routerNamespace}` };
  const ofRouter = { namespace: scope.routerNamespace, labelSelector: selector.join(',') };
  const lists = await allOf({
    sandboxes: read<'sandboxes'>(sandboxType),
    pods: read<'pods'>(PODS, { ...inScope, labelSelector: NAME_HASH_LABEL }),
    templates: read<'templates'>(extension(SANDBOX_TEMPLATES)),
    claims: read<'claims'>(extension(SANDBOX_CLAIMS)),
    pools: read<'pools'>(extension(SANDBOX_WARM_POOLS)),
    policies: read<'policies'>(NETWORK_POLICIES),
    runtimeClasses: read<'runtimeClasses'>(RUNTIME_CLASSES, {}),
    nodes: read<'nodes'>(NODES, {}),
    routerNamespaces: read<'routerNamespaces'>(NAMESPACES, named),
    routerPods: read<'routerPods'>(PODS, ofRouter),
    snapshots: read<'snapshots'>(snapshotType(POD_SNAPSHOTS)),
    snapshotPolicies: read<'snapshotPolicies'>(snapshotType(POD_SNAPSHOT_POLICIES)),
    // Of the cluster on GKE, of a namespace in the engine: asked for everywhere, both answer.
    snapshotStorageConfigs: read<'snapshotStorageConfigs'>(snapshotType(POD_SNAPSHOT_STORAGE_CONFIGS), {}),
  });
  const rights = rightsOfRouter(scope.routerNamespace, (served?.podSnapshots.length ?? 0) > 0);
  const account = serviceAccountOf(scope.routerNamespace, lists.routerPods.items);
  return {
    server: { version: version?.gitVersion, isEngine: version?.gitVersion?.includes('sandbox-router') === true },
    namespace: scope.namespace,
    router: { namespace: scope.routerNamespace, labels: scope.routerLabels },
    served,
    lists,
    rights: await askRights(client, rights, account, scope),
  };
}

async function readServedVersions(client: FactsClient): Promise<ServedVersions> {
  const [sandboxes, extensions, podSnapshots, gkeSandboxes] = await Promise.all([
    servedVersions(client, SANDBOXES.group, SANDBOXES.plural),
    servedVersions(client, SANDBOX_WARM_POOLS.group, SANDBOX_WARM_POOLS.plural),
    servedVersions(client, POD_SNAPSHOTS.group, POD_SNAPSHOTS.plural),
    servedVersions(client, 'sandbox.gke.io', 'sandboxes'),
  ]);
  return { sandboxes, extensions, podSnapshots, gkeSandboxes };
}

/** The type in the version that we know best among those served. */
function typeAs(type: ResourceType, versions: readonly string[] = []): ResourceType {
  const version = versions.includes(type.version) ? type.version : (versions[0] ?? type.version);
  return { ...type, version };
}

async function readListing<T extends KubernetesObject>(
  client: FactsClient,
  type: ResourceType,
  options: ListOptions,
): Promise<Listing<T>> {
  try {
    return { items: await readPages<T>(client, type, options) };
  } catch (error) {
    if (isApiError(error, 'Forbidden')) return { items: [], unread: forbidden(type, options.namespace) };
    if (isApiError(error, 'NotFound')) return { items: [], unread: notServed(type) };
    throw error;
  }
}

/** All pages of a list. A list that the server forgot, or had no time for, is begun again. */
async function readPages<T extends KubernetesObject>(
  client: FactsClient,
  type: ResourceType,
  options: ListOptions,
): Promise<T[]> {
  for (let attempt = 1; ; attempt++)
    try {
      return await readPagesOnce<T>(client, type, options);
    } catch (error) {
      const isBusy = isApiError(error, 'TooManyRequests');
      if (attempt === MOST_ATTEMPTS || !(isBusy || isApiError(error, 'Expired'))) throw error;
      if (isBusy) await delay(Math.min(error.status.details?.retryAfterSeconds ?? 1, LONGEST_REST_SECONDS) * 1000);
    }
}

async function readPagesOnce<T extends KubernetesObject>(
  client: FactsClient,
  type: ResourceType,
  options: ListOptions,
): Promise<T[]> {
  const items: T[] = [];
  let page: string | undefined;
  do {
    const list = await client.list<T>(type, {
      ...options,
      limit: PAGE_SIZE,
      ...(page === undefined ? {} : { continue: page }),
    });
    for (const item of list.items) {
      // Often half of an object, and nothing that a check looks at.
      delete item.metadata.managedFields;
      items.push(item);
    }
    page = list.continue;
  } while (page !== undefined);
  return items;
}

function forbidden(type: ResourceType, namespace: string | undefined) {
  const resource = type.group === '' ? type.plural : `${type.plural}.${type.group}`;
  const where = !type.namespaced
    ? 'the cluster'
    : namespace === undefined
      ? 'all namespaces'
      : `namespace ${namespace}`;
  return {
    cause: 'forbidden' as const,
    reason: `The right to list ${resource} in ${where} is missing.`,
    fix: `Grant whoever runs doctor: apiGroups ["${type.group}"], resources ["${type.plural}"], verbs ["list"], in ${where}.`,
  };
}

function notServed(type: ResourceType) {
  return {
    cause: 'not-served' as const,
    reason: `${type.group === '' ? apiPath(type) : type.group} is not served by this cluster.`,
    fix: `Install what serves ${type.plural}.${type.group}, if you mean to use it.`,
  };
}

/** `Promise.all` for the values of an object. */
async function allOf<T extends Record<string, unknown>>(
  promises: {
    [Key in keyof T]: Promise<T[Key]>;
  },
): Promise<T> {
  const values = await Promise.all(Object.values(promises));
  return Object.fromEntries(Object.keys(promises).map((key, index) => [key, values[index]])) as T;
}
