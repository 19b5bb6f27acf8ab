import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEngineApi } from '../../../src/engine/api/index.ts';
import { openStore } from '../../../src/engine/store/index.ts';
import {
  type Condition,
  isApiError,
  type KubernetesObject,
  PODS,
  type Pod,
  type ResourceClient,
  type ResourceType,
  SANDBOXES,
  type Sandbox,
} from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';

/** The engine's API in this process, over a store of its own, with short ways to say what tests say often. Everything is in namespace `default`. */
export interface EngineWorld {
  client: ResourceClient;
  directory: string;
  /** Every write since the last call, as `verb resource/name[/subresource]`. */
  writes(): string[];
  create<T extends KubernetesObject>(type: ResourceType, object: Partial<T> & { metadata: T['metadata'] }): Promise<T>;
  get<T extends KubernetesObject>(type: ResourceType, name: string): Promise<T | undefined>;
  patch<T extends KubernetesObject>(type: ResourceType, name: string, patch: unknown): Promise<T>;
  patchStatus(type: ResourceType, name: string, status: unknown): Promise<void>;
  /** Waits until the Sandbox's condition looks so. */
  condition(sandbox: string, type: string, wanted: Partial<Condition>): Promise<Condition>;
  close(): Promise<void>;
}

/** Opens the API over a new store, or over that of an earlier world which was closed. */
export async function engineWorld(
  directory = mkdtempSync(join(tmpdir(), 'sandbox-router-world-')),
): Promise<EngineWorld> {
  const store = openStore({ directory: join(directory, 'store') });
  const api = await createEngineApi({ store, clock: Date.now, random: randomBytes, token: 'secret' });
  let written: string[] = [];
  const client = recording(api.client, (line) => written.push(line));
  const key = (name: string) => ({ namespace: 'default', name });
  const get = async <T extends KubernetesObject>(type: ResourceType, name: string): Promise<T | undefined> => {
    try {
      return await api.client.get<T>(type, key(name));
    } catch (error) {
      if (isApiError(error, 'NotFound')) return undefined;
      throw error;
    }
  };
  return {
    client,
    directory,
    writes: () => written.splice(0),
    create: (type, object) =>
      api.client.create(type, {
        apiVersion: type.group === '' ? type.version : `${type.group}/${type.version}`,
        kind: type.kind,
        ...object,
        metadata: { namespace: 'default', ...object.metadata },
      } as never),
    get,
    patch: (type, name, patch) => api.client.patch(type, key(name), patch, { type: 'merge' }),
    patchStatus: async (type, name, status) => {
      await api.client.patch(type, key(name), { status }, { type: 'merge', subresource: 'status' });
    },
    condition: async (name, type, wanted) => {
      let seen: unknown;
      try {
        return await until(
          '',
          async () => {
            const sandbox = await get<Sandbox>(SANDBOXES, name);
            seen = sandbox?.status?.conditions;
            const found = sandbox?.status?.conditions?.find((condition) => condition.type === type);
            const matches = Object.entries(wanted).every(
              ([field, value]) => found?.[field as keyof Condition] === value,
            );
            return matches ? found : undefined;
          },
          10_000,
        );
      } catch {
        throw new Error(
          `${name} never had ${type} ${JSON.stringify(wanted)}; it has ${JSON.stringify(seen, undefined, 1)}`,
        );
      }
    },
    close: async () => {
      written = [];
      await api.close();
      await store.close();
    },
  };
}

/** Removes what a world left on disk. */
export function removeWorld({ directory }: EngineWorld): void {
  rmSync(directory, { recursive: true, force: true });
}

/** A Sandbox with one container and nothing else. */
export function sandboxOf(
  name: string,
  spec: Partial<Sandbox['spec']> = {},
  metadata: Partial<Sandbox['metadata']> = {},
) {
  return {
    metadata: { name, ...metadata },
    spec: { podTemplate: { spec: { containers: [{ name: 'main', image: 'test' }] } }, ...spec },
  };
}

/** Says of a Pod what a kubelet would: it runs and is Ready. */
export async function makeReady(world: EngineWorld, name: string, ip = '10.0.0.1'): Promise<Pod> {
  await until(`pod ${name}`, () => world.get<Pod>(PODS, name));
  await world.patchStatus(PODS, name, {
    phase: 'Running',
    podIP: ip,
    podIPs: [{ ip }],
    conditions: [
      { type: 'PodScheduled', status: 'True' },
      { type: 'Ready', status: 'True' },
    ],
    containerStatuses: [
      { name: 'main', ready: true, restartCount: 0, image: 'test', imageID: 'test', state: { running: {} } },
    ],
  });
  return (await world.get<Pod>(PODS, name)) as Pod;
}

function recording(client: ResourceClient, wrote: (line: string) => void): ResourceClient {
  return {
    ...client,
    create: (type, object) => {
      wrote(`create ${type.plural}/${object.metadata.name || object.metadata.generateName}`);
      return client.create(type, object);
    },
    update: (type, object, subresource) => {
      wrote(`update ${type.plural}/${object.metadata.name}${subresource === undefined ? '' : `/${subresource}`}`);
      return client.update(type, object, subresource);
    },
    patch: (type, key, patch, options) => {
      wrote(`patch ${type.plural}/${key.name}${options.subresource === undefined ? '' : `/${options.subresource}`}`);
      return client.patch(type, key, patch, options);
    },
    delete: (type, key, options) => {
      wrote(`delete ${type.plural}/${key.name}`);
      return client.delete(type, key, options);
    },
  };
}
