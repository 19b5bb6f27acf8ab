import { createHash, randomBytes } from 'node:crypto';
import { SCOPES, type Scope } from './identity.ts';

/** An API key as it is stored: never the key, only its hash. */
export interface StoredApiKey {
  id: string;
  /** Hex SHA-256 of the key. */
  sha256: string;
  tenant: string;
  scopes: Scope[];
  /** RFC 3339; without it the key has no end. */
  expiresAt?: string;
  /** Namespaces that it may reach; the tenant's own without it. `*` stands for all that the tenant has. */
  namespaces?: string[] | '*';
}

/** Secret scanners know keys by how they begin. */
const KEY_PREFIX = 'sr_';
const FIELDS: readonly string[] = ['id', 'sha256', 'tenant', 'scopes', 'expiresAt', 'namespaces'];

/** A new key of 256 random bits, and what is stored of it. */
export function createApiKey(fields: Omit<StoredApiKey, 'id' | 'sha256'>): { key: string; stored: StoredApiKey } {
  const key = KEY_PREFIX + randomBytes(32).toString('base64url');
  const id = `${fields.tenant}-${randomBytes(4).toString('hex')}`;
  return { key, stored: { id, sha256: hashOfApiKey(key), ...fields } };
}

/** Hex SHA-256. Keys are random, so a slow hash would protect nothing. */
export function hashOfApiKey(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

/** Reads a file of stored keys. @throws Error that names the entry and what is wrong with it */
export function parseApiKeys(text: string): StoredApiKey[] {
  const document = JSON.parse(text) as { keys?: unknown } | null;
  if (!Array.isArray(document?.keys)) throw new Error('"keys" must be a list');
  const seen = new Set<string>();
  return document.keys.map((entry: unknown, index) => {
    const key = parseApiKey(entry, `keys[${index}]`);
    if (seen.has(key.id)) throw new Error(`keys[${index}] (${key.id}): an earlier key has the same "id"`);
    seen.add(key.id);
    return key;
  });
}

/** The file of such keys. */
export function formatApiKeys(keys: readonly StoredApiKey[]): string {
  return `${JSON.stringify({ keys }, undefined, 2)}\n`;
}

function parseApiKey(entry: unknown, where: string): StoredApiKey {
  if (typeof entry !== 'object' || entry === null) throw new Error(`${where}: must be an object`);
  const { id, sha256, tenant, scopes, expiresAt, namespaces } = entry as Record<string, unknown>;
  const fail = (problem: string) => new Error(`${where}${typeof id === 'string' ? ` (${id})` : ''}: ${problem}`);
  const unknown = Object.keys(entry).find((field) => !FIELDS.includes(field));
  if (unknown !== undefined) throw fail(`"${unknown}" is not known; there are ${FIELDS.join(', ')}`);
  if (typeof id !== 'string' || id === '') throw fail('"id" is missing');
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) throw fail('"sha256" must be 64 hex digits');
  if (typeof tenant !== 'string' || tenant === '') throw fail('"tenant" is missing');
  if (!Array.isArray(scopes) || !scopes.every((scope) => SCOPES.includes(scope)))
    throw fail(`"scopes" may hold ${SCOPES.join(', ')}`);
  if (expiresAt !== undefined && Number.isNaN(Date.parse(String(expiresAt))))
    throw fail('"expiresAt" must be a time such as 2027-01-31T00:00:00Z');
  const listed = Array.isArray(namespaces) && namespaces.every((name) => typeof name === 'string');
  if (namespaces !== undefined && namespaces !== '*' && !listed)
    throw fail('"namespaces" must be a list of names or "*"');
  return entry as StoredApiKey;
}
