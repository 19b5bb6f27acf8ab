import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Authenticator, Principal, Scope } from './identity.ts';

/** An API key as it is stored: never the key, only its hash. */
export interface StoredApiKey {
  id: string;
  /** Hex SHA-256 of the key. */
  sha256: string;
  tenant: string;
  scopes: Scope[];
  /** RFC 3339; without it the key has no end. */
  expiresAt?: string;
  /** Namespaces that it may reach; the tenant's own without it. `*` stands for all. */
  namespaces?: string[] | '*';
}

const NEVER_MS = 8.64e15;
const SCOPES: readonly string[] = ['route', 'wake', 'manage'] satisfies Scope[];

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
  const token = readFileSync(path, 'utf8').trim();
  return {
    id: 'up',
    sha256: createHash('sha256').update(token).digest('hex'),
    tenant: 'default',
    scopes: ['route', 'wake', 'manage'],
    namespaces: '*',
  };
}

/** Reads a file of stored keys. @throws Error that names the entry and what is wrong with it */
export function parseApiKeys(text: string): StoredApiKey[] {
  const document = JSON.parse(text) as { keys?: unknown };
  if (!Array.isArray(document.keys)) throw new Error('"keys" must be a list');
  return document.keys.map((entry: Record<string, unknown>, index) => {
    const fail = (problem: string) =>
      new Error(`keys[${index}]${typeof entry?.id === 'string' ? ` (${entry.id})` : ''}: ${problem}`);
    if (typeof entry !== 'object' || entry === null) throw fail('must be an object');
    const { id, sha256, tenant, scopes, expiresAt, namespaces } = entry;
    if (typeof id !== 'string' || id === '') throw fail('"id" is missing');
    if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) throw fail('"sha256" must be 64 hex digits');
    if (typeof tenant !== 'string' || tenant === '') throw fail('"tenant" is missing');
    if (!Array.isArray(scopes) || !scopes.every((scope) => SCOPES.includes(scope as string)))
      throw fail(`"scopes" may hold ${SCOPES.join(', ')}`);
    if (expiresAt !== undefined && Number.isNaN(Date.parse(String(expiresAt))))
      throw fail('"expiresAt" must be a time such as 2027-01-31T00:00:00Z');
    const listed = Array.isArray(namespaces) && namespaces.every((name) => typeof name === 'string');
    if (namespaces !== undefined && namespaces !== '*' && !listed)
      throw fail('"namespaces" must be a list of names or "*"');
    return entry as unknown as StoredApiKey;
  });
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
