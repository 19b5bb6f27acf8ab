import { createHmac, timingSafeEqual } from 'node:crypto';

/** What a scoped token says: one sandbox, until a time. */
export interface ScopedTokenClaims {
  namespace: string;
  name: string;
  /** Unix seconds; the token is void from this second on. */
  expiresAtSeconds: number;
}

/** A signing key. Keys with an id sign the later `v2.<id>.…` form, so that several can be active while one replaces another. */
export interface ScopedTokenKey {
  id?: string;
  /** At least 32 bytes (contract section 3.4). */
  secret: Buffer;
}

/** Why a token is not valid; all of them are answered alike. */
export type ScopedTokenRefusal = 'malformed' | 'unknown_key' | 'bad_signature' | 'expired';

const DOMAIN = 'agent-sandbox/scoped-token/';
const MAXIMUM_LENGTH = 4096;

/** Reads a key from a file's bytes: surrounding white space is dropped. @throws RangeError for fewer than 32 bytes */
export function scopedTokenKey(bytes: Buffer, id?: string): ScopedTokenKey {
  const secret = Buffer.from(bytes.toString('latin1').trim(), 'latin1');
  if (secret.length < 32)
    throw new RangeError(`a scoped-token secret needs at least 32 bytes, this one has ${secret.length}`);
  return id === undefined ? { secret } : { id, secret };
}

/**
 * Mints a token: `v1.<payload>.<signature>` exactly as upstream's library does, or `v2.<key id>.<payload>.<signature>` with a key that has an id. @throws
 * RangeError for names that are none, or an end that is no whole second
 */
export function mintScopedToken(key: ScopedTokenKey, claims: ScopedTokenClaims): string {
  for (const name of [claims.namespace, claims.name])
    if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name))
      throw new RangeError(`${JSON.stringify(name)} is no name of a sandbox or namespace`);
  if (!Number.isSafeInteger(claims.expiresAtSeconds) || claims.expiresAtSeconds <= 0)
    throw new RangeError('a scoped token ends at a whole second');
  const payload = Buffer.from(
    JSON.stringify({ ns: claims.namespace, name: claims.name, exp: claims.expiresAtSeconds }),
  ).toString('base64url');
  const signed = key.id === undefined ? `v1.${payload}` : `v2.${key.id}.${payload}`;
  return `${signed}.${sign(key, signed).toString('base64url')}`;
}

/** Checks form, key, signature and expiry, in that order; the signature is compared in constant time and before the payload is read. */
export function verifyScopedToken(
  keys: readonly ScopedTokenKey[],
  token: string,
  nowMs: number,
): ScopedTokenClaims | ScopedTokenRefusal {
  if (token.length > MAXIMUM_LENGTH) return 'malformed';
  const match =
    /^(?<signed>(?:v1|v2\.(?<id>[A-Za-z0-9_-]{1,64}))\.(?<payload>[A-Za-z0-9_-]+))\.(?<signature>[A-Za-z0-9_-]{43})$/.exec(
      token,
    );
  if (match?.groups === undefined || match === null) return 'malformed';
  const { signed = '', id, payload = '', signature = '' } = match.groups;
  const candidates = keys.filter((key) => key.id === id);
  if (candidates.length === 0) return 'unknown_key';
  const given = Buffer.from(signature, 'base64url');
  if (given.length !== 32 || given.toString('base64url') !== signature) return 'malformed';
  let valid = false;
  for (const key of candidates) valid = timingSafeEqual(sign(key, signed), given) || valid;
  if (!valid) return 'bad_signature';
  const claims = readClaims(payload);
  if (claims === undefined) return 'malformed';
  return nowMs / 1000 >= claims.expiresAtSeconds ? 'expired' : claims;
}

function sign(key: ScopedTokenKey, signed: string): Buffer {
  return createHmac('sha256', key.secret)
    .update(DOMAIN + signed)
    .digest();
}

function readClaims(payload: string): ScopedTokenClaims | undefined {
  try {
    const { ns, name, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as Record<string, unknown>;
    if (typeof ns !== 'string' || typeof name !== 'string' || typeof exp !== 'number' || !Number.isSafeInteger(exp))
      return undefined;
    return { namespace: ns, name, expiresAtSeconds: exp };
  } catch {
    return undefined;
  }
}
