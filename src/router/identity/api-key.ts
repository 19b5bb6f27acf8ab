import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { StoredApiKey } from './api-key-file.ts';
import type { Authenticator, Credential } from './identity.ts';
import { NEVER_MS } from './principal.ts';

/** Accepts the keys whose hashes are given now; asked for on every miss of the cache, so that a reload takes effect. */
export function createApiKeyAuthenticator(keys: () => readonly StoredApiKey[]): Authenticator {
  return {
    name: 'api-key',
    authenticate: (credential) => {
      const digest = hashOf(credential);
      let found: StoredApiKey | undefined;
      // Every key is compared, and in constant time: the time taken tells nothing about which are close.
      for (const key of keys()) if (timingSafeEqual(Buffer.from(key.sha256, 'hex'), digest)) found = key;
      return found === undefined ? undefined : credentialOf(found);
    },
  };
}

/** Accepts the token in the file of `up`: everything in every namespace of the engine, `default` where none is named. */
export function createUpTokenAuthenticator(path: string): Authenticator {
  const digest = hashOf(readFileSync(path, 'utf8').trim());
  const credential: Credential = {
    tenant: 'default',
    namespaces: '*',
    scopes: new Set(['route', 'wake', 'manage'] as const),
    credentialId: 'up',
    expiresAtMs: NEVER_MS,
    operator: true,
  };
  return {
    name: 'up',
    authenticate: (token) => (timingSafeEqual(digest, hashOf(token)) ? credential : undefined),
  };
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function credentialOf({ id, tenant, namespaces, scopes, expiresAt }: StoredApiKey): Credential {
  return {
    tenant,
    namespaces: Array.isArray(namespaces) ? new Set(namespaces) : namespaces,
    scopes: new Set(scopes),
    credentialId: id,
    expiresAtMs: expiresAt === undefined ? NEVER_MS : Date.parse(expiresAt),
  };
}
