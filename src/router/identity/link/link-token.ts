import { createHmac, timingSafeEqual } from 'node:crypto';
import {
  decodeNarrowing,
  decodeRoot,
  encodeNarrowing,
  encodeRoot,
  type LinkClaims,
  type Narrowing,
  narrowed,
} from './link-claims.ts';

/** A key that signs links and the sessions that they become. Several can be active while one replaces another. */
export interface LinkKey {
  id: string;
  /** At least 32 bytes. */
  secret: Buffer;
}

/** Why a link is not valid; all of them are answered alike. */
export type LinkRefusal = 'malformed' | 'unknown_key' | 'bad_signature' | 'expired' | 'contradiction';

/** `link` travels in URLs and can be narrowed; `session` is the cookie that a link became, and can't. */
export type LinkKind = 'link' | 'session';

const VERSIONS = { link: 'l1', session: 's1' } as const;
const DOMAIN = 'sandbox-router/link/';
const MAXIMUM_LENGTH = 4096;
const MOST_CAVEATS = 16;

/** Reads a key from a file's bytes: surrounding white space is dropped. @throws RangeError for fewer than 32 bytes or an id that is none */
export function linkKey(bytes: Buffer, id: string): LinkKey {
  const secret = Buffer.from(bytes.toString('latin1').trim(), 'latin1');
  if (secret.length < 32) throw new RangeError(`a link key needs at least 32 bytes, this one has ${secret.length}`);
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(id)) throw new RangeError('the id of a link key has 1 to 64 of A-Z a-z 0-9 _ -');
  return { id, secret };
}

/** Mints a token: `<version>.<key id>.<claims>.<signature>`. */
export function mintLink(key: LinkKey, kind: LinkKind, claims: LinkClaims): string {
  const signed = `${VERSIONS[kind]}.${key.id}.${encode(encodeRoot(claims))}`;
  return `${signed}.${sign(key.secret, DOMAIN + signed).toString('base64url')}`;
}

/**
 * Narrows a link without its key, as macaroons do: the caveat is signed with the signature so far, which then is no longer part of the token. @throws
 * RangeError for what is no link
 */
export function narrowLink(token: string, narrowing: Narrowing): string {
  const at = token.lastIndexOf('.');
  const signature = readSignature(token.slice(at + 1));
  if (signature === undefined || !token.startsWith(`${VERSIONS.link}.`)) throw new RangeError('this is not a link');
  const caveat = encode(encodeNarrowing(narrowing));
  const longer = `${token.slice(0, at)}.${caveat}.${sign(signature, caveat).toString('base64url')}`;
  if (longer.length > MAXIMUM_LENGTH) throw new RangeError('the link would get too long');
  return longer;
}

/** Checks form, key, chain of signatures, caveats and expiry, in that order; nothing is read before its signature is found right. */
export function verifyLink(
  keys: readonly LinkKey[],
  kind: LinkKind,
  token: string,
  nowMs: number,
): LinkClaims | LinkRefusal {
  if (token.length > MAXIMUM_LENGTH) return 'malformed';
  const [version, keyId, root = '', ...rest] = token.split('.');
  const given = readSignature(rest.pop() ?? '');
  const parts = [root, ...rest];
  if (version !== VERSIONS[kind] || given === undefined || !parts.every(isBase64Url)) return 'malformed';
  if (rest.length > (kind === 'link' ? MOST_CAVEATS : 0)) return 'malformed';
  const candidates = keys.filter(({ id }) => id === keyId);
  if (candidates.length === 0) return 'unknown_key';
  let valid = false;
  for (const key of candidates) {
    let signature = sign(key.secret, `${DOMAIN}${version}.${keyId}.${root}`);
    for (const caveat of rest) signature = sign(signature, caveat);
    valid = timingSafeEqual(signature, given) || valid;
  }
  if (!valid) return 'bad_signature';
  let claims = decodeRoot(decode(root));
  if (claims === undefined) return 'malformed';
  for (const part of rest) {
    const caveat = decodeNarrowing(decode(part));
    if (caveat === undefined) return 'malformed';
    claims = narrowed(claims, caveat);
    if (claims === undefined) return 'contradiction';
  }
  return nowMs / 1000 >= claims.expiresAtSeconds ? 'expired' : claims;
}

function sign(secret: Buffer, text: string): Buffer {
  return createHmac('sha256', secret).update(text).digest();
}

function encode(json: string): string {
  return Buffer.from(json).toString('base64url');
}

function decode(part: string): string {
  return Buffer.from(part, 'base64url').toString('utf8');
}

function isBase64Url(part: string): boolean {
  return /^[A-Za-z0-9_-]+$/.test(part);
}

function readSignature(text: string): Buffer | undefined {
  if (!/^[A-Za-z0-9_-]{43}$/.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64url');
  // Bits beyond the last byte would decode alike.
  return bytes.toString('base64url') === text ? bytes : undefined;
}
