import {
  CONFIG_MAPS,
  type ConfigMap,
  isApiError,
  type Pod,
  type ResourceClient,
  SECRETS,
  type Secret,
} from '../../../kubernetes/index.ts';
import { PodConfigError } from './refusals.ts';

/** A reference by name that may be optional. */
export interface DataReference {
  name?: string | undefined;
  optional?: boolean | undefined;
}

/** Keys and values of the ConfigMaps and Secrets of a Pod's namespace, each read once. */
export interface PodData {
  /** Undefined for an optional one that is not there. @throws PodConfigError for one that is not there and not optional */
  configMap(reference: DataReference): Promise<ReadonlyMap<string, Buffer> | undefined>;
  secret(reference: DataReference): Promise<ReadonlyMap<string, Buffer> | undefined>;
}

/** Reads what a Pod refers to. */
export function podDataOf(client: ResourceClient, pod: Pod): PodData {
  const namespace = pod.metadata.namespace ?? '';
  const read = new Map<string, Promise<ReadonlyMap<string, Buffer> | undefined>>();

  function once(kind: 'configmap' | 'secret', { name = '', optional }: DataReference) {
    const key = `${kind} ${name}`;
    const found = read.get(key) ?? fetchOne(kind, name);
    read.set(key, found);
    return found.then((data) => {
      if (data === undefined && optional !== true) throw new PodConfigError(`${kind} "${name}" not found`);
      return data;
    });
  }

  async function fetchOne(kind: 'configmap' | 'secret', name: string) {
    try {
      if (kind === 'secret') return decoded((await client.get<Secret>(SECRETS, { namespace, name })).data);
      const { data = {}, binaryData } = await client.get<ConfigMap>(CONFIG_MAPS, { namespace, name });
      return new Map([
        ...Object.entries(data).map(([key, value]) => [key, Buffer.from(value)] as const),
        ...decoded(binaryData),
      ]);
    } catch (error) {
      if (isApiError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  return {
    configMap: (reference) => once('configmap', reference),
    secret: (reference) => once('secret', reference),
  };
}

function decoded(data: Record<string, string> = {}): Map<string, Buffer> {
  return new Map(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64')]));
}
