import type { Pod } from '../../../kubernetes/index.ts';
import { parseDockerConfig, type RegistryCredentials } from '../../images/index.ts';
import type { PodData } from './pod-data.ts';

/** Keys under which a Secret has registries' credentials: of types kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg. */
const KEYS = ['.dockerconfigjson', '.dockercfg'];

/** The credentials of a Pod's imagePullSecrets, the first Secret's before the others', and the names of those Secrets that are not there or have none. */
export async function pullSecretsOf(
  pod: Pod,
  data: PodData,
): Promise<{ credentials: RegistryCredentials; unusable: string[] }> {
  const credentials = new Map<string, { username: string; password: string }>();
  const unusable: string[] = [];
  for (const { name } of pod.spec.imagePullSecrets ?? []) {
    const values = await data.secret({ name, optional: true });
    const content = KEYS.map((key) => values?.get(key)).find((value) => value !== undefined);
    const found = content === undefined ? undefined : parseDockerConfig(content);
    if (found === undefined) unusable.push(name);
    for (const [registry, credential] of found ?? [])
      if (!credentials.has(registry)) credentials.set(registry, credential);
  }
  return { credentials, unusable };
}
