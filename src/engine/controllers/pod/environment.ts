import type { Container, EnvVar } from '../../../kubernetes/index.ts';
import { expand } from './expand.ts';
import type { DataReference, PodData } from './pod-data.ts';
import { type PodPlace, podField } from './pod-fields.ts';
import { PodConfigError, PodRefusedError } from './refusals.ts';

/**
 * Environment of a container as a kubelet makes it: `envFrom` in its order, then `env` over it; `$(NAME)` in values stands for variables before it.
 * @throws PodConfigError for a reference that leads nowhere, PodRefusedError for a source that the engine does not know
 */
export async function environmentOf(
  container: Container,
  place: PodPlace,
  data: PodData,
): Promise<Record<string, string>> {
  const environment: Record<string, string> = {};
  for (const { prefix = '', configMapRef, secretRef } of container.envFrom ?? []) {
    const values = configMapRef === undefined ? undefined : await data.configMap(configMapRef);
    const secrets = secretRef === undefined ? undefined : await data.secret(secretRef);
    for (const [key, value] of [...(values ?? []), ...(secrets ?? [])]) environment[prefix + key] = value.toString();
  }
  for (const variable of container.env ?? []) {
    const { name, value, valueFrom } = variable;
    const found =
      valueFrom === undefined ? expand(value ?? '', environment) : await referredValue(variable, place, data);
    if (found !== undefined) environment[name] = found;
  }
  return environment;
}

async function referredValue(
  { name, valueFrom = {} }: EnvVar,
  place: PodPlace,
  data: PodData,
): Promise<string | undefined> {
  const { fieldRef, configMapKeyRef, secretKeyRef } = valueFrom;
  if (configMapKeyRef !== undefined)
    return keyOf(await data.configMap(configMapKeyRef), configMapKeyRef, `configmap "${configMapKeyRef.name}"`);
  if (secretKeyRef !== undefined)
    return keyOf(await data.secret(secretKeyRef), secretKeyRef, `secret "${secretKeyRef.name}"`);
  const value = fieldRef === undefined ? undefined : podField(place, fieldRef.fieldPath);
  if (value === undefined)
    throw new PodRefusedError(`env ${name}: valueFrom ${JSON.stringify(valueFrom)} is not supported by this engine`);
  return value;
}

function keyOf(
  values: ReadonlyMap<string, Buffer> | undefined,
  { key, optional }: DataReference & { key: string },
  what: string,
): string | undefined {
  const value = values?.get(key);
  if (value === undefined && optional !== true) throw new PodConfigError(`couldn't find key "${key}" in ${what}`);
  return value?.toString();
}
