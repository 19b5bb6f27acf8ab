import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import {
  ApiError,
  apiVersionOf,
  KNOWN_RESOURCES,
  type KubernetesObject,
  type ResourceClient,
} from '../kubernetes/index.ts';

/** Objects of a YAML file with one or more documents. @throws Error that names file and line of what is wrong */
export function readManifests(path: string): KubernetesObject[] {
  return parseAllDocuments(readFileSync(path, 'utf8')).flatMap((document) => {
    const [problem] = document.errors;
    if (problem !== undefined) throw new Error(`${path}: ${problem.message}`);
    const object = document.toJS() as KubernetesObject | null;
    return object === null ? [] : [object];
  });
}

/** Applies every object server-side, as `kubectl apply --server-side` does. @throws Error that names the object refused */
export async function applyManifests(
  client: ResourceClient,
  path: string,
  defaultNamespace: string,
): Promise<string[]> {
  const applied: string[] = [];
  for (const object of readManifests(path)) {
    const type = KNOWN_RESOURCES.find(
      (known) => apiVersionOf(known) === object.apiVersion && known.kind === object.kind,
    );
    if (type === undefined) throw new Error(`${path}: don't know ${object.apiVersion} ${object.kind}.`);
    const namespace = type.namespaced ? (object.metadata.namespace ?? defaultNamespace) : undefined;
    const key = { name: object.metadata.name, ...(namespace === undefined ? {} : { namespace }) };
    try {
      await client.patch(type, key, object, { type: 'apply', fieldManager: 'sandbox-router-up', force: true });
    } catch (error) {
      if (error instanceof ApiError)
        throw new Error(`${path}: ${object.kind} ${object.metadata.name} was refused: ${error.message}`);
      throw error;
    }
    applied.push(`${type.kind.toLowerCase()}/${object.metadata.name}`);
  }
  return applied;
}
