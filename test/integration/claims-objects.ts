import {
  apiVersionOf,
  isApiError,
  type KubernetesObject,
  type ResourceClient,
  type ResourceType,
  SANDBOX_CLAIMS,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
  type SandboxTemplate,
  type SandboxWarmPool,
} from '../../src/kubernetes/index.ts';
import { until } from '../support/until.ts';

/** Short ways to say what tests of claims say often. Everything is in namespace `default`. */
export interface Objects {
  template(name: string, spec?: Partial<SandboxTemplate['spec']>): Promise<SandboxTemplate>;
  pool(name: string, template: string, spec?: Partial<SandboxWarmPool['spec']>): Promise<SandboxWarmPool>;
  /** Makes a pool of its own template and waits until all members are Ready. */
  filledPool(
    name: string,
    replicas: number,
    template?: Partial<SandboxTemplate['spec']>,
    pool?: Partial<SandboxWarmPool['spec']>,
  ): Promise<Sandbox[]>;
  claim(
    name: string,
    pool: string,
    spec?: Partial<SandboxClaim['spec']>,
    metadata?: Partial<SandboxClaim['metadata']>,
  ): Promise<SandboxClaim>;
  get<T extends KubernetesObject>(type: ResourceType, name: string): Promise<T | undefined>;
  patch(type: ResourceType, name: string, patch: object): Promise<void>;
  /** Sandboxes that a pool owns and that stay. */
  members(pool: string): Promise<Sandbox[]>;
  /** Waits for a claim's Ready condition with this reason; True with `DependenciesReady`. */
  ready(claim: string, reason?: string): Promise<SandboxClaim>;
  gone(type: ResourceType, name: string): Promise<unknown>;
}

const KEY = (name: string) => ({ namespace: 'default', name });

/** One container that sleeps: it is Ready as soon as it runs. */
export const SLEEPER: SandboxTemplate['spec']['podTemplate'] = {
  spec: {
    terminationGracePeriodSeconds: 0,
    containers: [{ name: 'main', image: 'sandbox-router.local/toolbox', command: ['sleep', '3600'] }],
  },
};

/** Ready of an object. */
export function readyOf(object: { status?: { conditions?: { type: string; status: string; reason?: string }[] } }) {
  return object.status?.conditions?.find(({ type }) => type === 'Ready');
}

/** The helpers for one API. */
export function objectsIn(client: ResourceClient): Objects {
  const create = <T extends KubernetesObject>(
    type: ResourceType,
    name: string,
    spec: object,
    metadata: object = {},
  ): Promise<T> =>
    client.create<T>(type, {
      apiVersion: apiVersionOf(type),
      kind: type.kind,
      metadata: { ...KEY(name), ...metadata },
      spec,
    } as never);
  const get = async <T extends KubernetesObject>(type: ResourceType, name: string): Promise<T | undefined> => {
    try {
      return await client.get<T>(type, KEY(name));
    } catch (error) {
      if (isApiError(error, 'NotFound')) return undefined;
      throw error;
    }
  };
  const members = async (pool: string) => {
    const { items } = await client.list<Sandbox>(SANDBOXES, { namespace: 'default' });
    return items.filter(
      ({ metadata }) =>
        metadata.deletionTimestamp === undefined &&
        metadata.ownerReferences?.some(({ kind, name }) => kind === 'SandboxWarmPool' && name === pool),
    );
  };
  const template: Objects['template'] = (name, spec = {}) =>
    create<SandboxTemplate>(SANDBOX_TEMPLATES, name, { podTemplate: SLEEPER, ...spec });
  const pool: Objects['pool'] = (name, templateName, spec = {}) =>
    create<SandboxWarmPool>(SANDBOX_WARM_POOLS, name, { sandboxTemplateRef: { name: templateName }, ...spec });
  return {
    template,
    pool,
    members,
    get,
    filledPool: async (name, replicas, templateSpec = {}, poolSpec = {}) => {
      await template(name, templateSpec);
      await pool(name, name, { replicas, ...poolSpec });
      return await until(
        `${replicas} members of ${name} are Ready`,
        async () => {
          const found = await members(name);
          return found.length === replicas && found.every((sandbox) => readyOf(sandbox)?.status === 'True') && found;
        },
        60_000,
      );
    },
    claim: (name, poolName, spec = {}, metadata = {}) =>
      create<SandboxClaim>(SANDBOX_CLAIMS, name, { warmPoolRef: { name: poolName }, ...spec }, metadata),
    patch: async (type, name, patch) => {
      await client.patch(type, KEY(name), patch, { type: 'merge' });
    },
    ready: async (name, reason = 'DependenciesReady') => {
      let seen: unknown;
      try {
        return await until('', async () => {
          const claim = await get<SandboxClaim>(SANDBOX_CLAIMS, name);
          seen = claim?.status;
          return claim !== undefined && readyOf(claim)?.reason === reason && claim;
        });
      } catch {
        throw new Error(`claim ${name} was never ${reason}: ${JSON.stringify(seen)}`);
      }
    },
    gone: (type, name) => until(`${name} is gone`, async () => (await get(type, name)) === undefined),
  };
}
