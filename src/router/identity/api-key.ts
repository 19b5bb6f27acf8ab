import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hashOfApiKey, type StoredApiKey } from './api-key-file.ts';
import type { Authenticator, Principal } from './identity.ts';

const NEVER_MS = 8.64e15;

/** Accepts the keys whose hashes are given now; asked for on every miss of the cache, so that a reload takes effect. */
export function createApiKeyAuthenticator(keys: () => readonly StoredApiKey[]): Authenticator {
  return {
    name: 'api-key',
    authenticate: (credential) => {
      const digest = createHash('sha256').update(credential).digest();
      let found: StoredApiKey | undefined;
      // Every key is compared, and in constant time: the time taken tells nothing about which are close.
      for (const key of keys()) if (timingSafeEqual(Buffer.from(key.sha256, 'hex'), digest)) found = key;
      return found === undefined ? undefined : principalOf(found);
    },
  };
}

/** The key of `up`, read from its file: everything in every namespace of the engine, `default` where none is named. */
export function upTokenKey(path: string): StoredApiKey {
  return {
    id: 'up',
    sha256: hashOfApiKey(readFileSync(path, 'utf8').trim()),
    tenant: 'default',
    scopes: ['route', 'wake', 'manage'],
    namespaces: '*',
  };
}

function principalOf(key: StoredApiKey): Principal {
  const namespaces = key.namespaces ?? [key.tenant];
  return {
    tenant: key.tenant,
    defaultNamespace: key.tenant,
    namespaces: namespaces === '*' ? '*' : new Set(namespaces),
    scopes: new Set(key.scopes),
    credentialId: key.id,
    expiresAtMs: key.expiresAt === undefined ? NEVER_MS : Date.parse(key.expiresAt),
  };
}
