import type { RegistryCredential, RegistryCredentials } from '../images.ts';
import type { ImageReference } from './reference.ts';

/**
 * Reads the `.dockerconfigjson` of a Secret (or the older `.dockercfg`, which is its `auths` alone). Only usernames and passwords are taken: helpers that such
 * a file may name are programs of this machine. Undefined if it is none.
 */
export function parseDockerConfig(content: Buffer): RegistryCredentials | undefined {
  const auths = authsOf(content);
  if (auths === undefined) return undefined;
  const credentials = new Map<string, RegistryCredential>();
  for (const [key, entry] of Object.entries(auths)) {
    const { username, password, auth } = (entry ?? {}) as Record<string, unknown>;
    const [, name, secret] =
      /^([^:]*):(.*)$/s.exec(typeof auth === 'string' ? Buffer.from(auth, 'base64').toString() : '') ?? [];
    const found = { username: asText(username) ?? name, password: asText(password) ?? secret };
    if (found.username !== undefined && found.password !== undefined) credentials.set(key, found as RegistryCredential);
  }
  return credentials;
}

function authsOf(content: Buffer): Record<string, unknown> | undefined {
  try {
    const parsed = JSON.parse(content.toString()) as Record<string, unknown>;
    const auths = parsed?.auths ?? parsed;
    return typeof auths === 'object' && auths !== null ? (auths as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function asText(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/**
 * The credential for a reference by the rules of a kubelet: keys are `host`, `host:port`, `host/path` or URLs of them; `*` stands for one part of a host's name;
 * the longest path wins. Undefined if there is none.
 */
export function credentialFor(
  reference: ImageReference,
  credentials: RegistryCredentials,
): RegistryCredential | undefined {
  if (reference.source === 'layout') return undefined;
  let best: { length: number; credential: RegistryCredential } | undefined;
  for (const [key, credential] of credentials) {
    const [host = '', ...path] = key
      .replace(/^https?:\/\//, '')
      .replace(/\/$/, '')
      .split('/');
    // Docker's own registry goes by the address of its former API; `/v1` and `/v2` are of APIs, not of repositories.
    const prefix = path.join('/').replace(/^v[12]$/, '');
    const registry = host === 'index.docker.io' || host === 'registry-1.docker.io' ? 'docker.io' : host;
    const fits =
      hostFits(registry, reference.registry) && (prefix === '' || `${reference.repository}/`.startsWith(`${prefix}/`));
    if (fits && (best === undefined || prefix.length > best.length)) best = { length: prefix.length, credential };
  }
  return best?.credential;
}

function hostFits(pattern: string, host: string): boolean {
  const [wanted, found] = [pattern.split('.'), host.split('.')];
  return (
    wanted.length === found.length &&
    wanted.every((part, index) => {
      const words = part.split('*').map((word) => word.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
      return new RegExp(`^${words.join('[^.:]*')}$`, 'i').test(found[index] ?? '');
    })
  );
}
