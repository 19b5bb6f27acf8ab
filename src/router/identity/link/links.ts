import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Tenants } from '../../policy/index.ts';
import type { Authenticator, Credential } from '../identity.ts';
import type { LinkClaims } from './link-claims.ts';
import { type LinkKey, mintLink, verifyLink } from './link-token.ts';

/** What is asked of a new link; the rest is the router's to say. */
export type NewLink = Omit<LinkClaims, 'id' | 'openBySeconds'> & { openBySeconds?: number };

/** Links of this router: minted, opened, and remembered when they may be used once. */
export interface Links {
  /** @throws Error where no key is there */
  mint(link: NewLink): string;
  /** What a link says; undefined if it is not valid now. */
  read(token: string, nowMs: number): LinkClaims | undefined;
  /** The value of the cookie that a link becomes. */
  session(claims: LinkClaims): string;
  /** What a session cookie says; undefined if it is not valid now. */
  readSession(value: string, nowMs: number): LinkClaims | undefined;
  /** Takes the one use of a link; false if it was taken before, or if too many are remembered to tell. */
  use(claims: Pick<LinkClaims, 'id' | 'expiresAtSeconds'>, nowMs: number): boolean;
}

/** Most links of one use that are remembered at once. */
const MOST_USED = 50_000;
/** How a session comes to the authenticators: no `Bearer` token can have a space. */
const SESSION_CREDENTIAL = 'session ';

/** Links signed with the first of the keys, and read with any. */
export function createLinks(keys: () => readonly LinkKey[]): Links {
  const used = new LRUCache<string, true>({ max: MOST_USED, ttlAutopurge: false });
  const read = (kind: 'link' | 'session', token: string, nowMs: number) => {
    const claims = verifyLink(keys(), kind, token, nowMs);
    return typeof claims === 'string' ? undefined : claims;
  };
  const firstKey = (): LinkKey => {
    const [key] = keys();
    if (key === undefined) throw new Error('there is no key for links');
    return key;
  };
  return {
    mint: (link) =>
      mintLink(firstKey(), 'link', { openBySeconds: undefined, ...link, id: randomBytes(9).toString('base64url') }),
    read: (token, nowMs) => read('link', token, nowMs),
    session: (claims) => mintLink(firstKey(), 'session', { ...claims, oneUse: false, openBySeconds: undefined }),
    readSession: (value, nowMs) => read('session', value, nowMs),
    use: ({ id, expiresAtSeconds }, nowMs) => {
      if (used.has(id)) return false;
      if (used.size >= MOST_USED) {
        used.purgeStale();
        // To forget one that is still valid would give it a second use.
        if (used.size >= MOST_USED) return false;
      }
      used.set(id, true, { ttl: Math.max(1, expiresAtSeconds * 1000 - nowMs) });
      return true;
    },
  };
}

/** The credential of a session cookie's value. */
export function sessionCredential(value: string): string {
  return SESSION_CREDENTIAL + value;
}

/** Accepts links as credentials, and the sessions that they became. */
export function createLinkAuthenticator(links: Links, tenants: Pick<Tenants, 'find'>): Authenticator {
  return {
    name: 'link',
    authenticate: (credential, nowMs) => {
      const claims = credential.startsWith(SESSION_CREDENTIAL)
        ? links.readSession(credential.slice(SESSION_CREDENTIAL.length), nowMs)
        : links.read(credential, nowMs);
      return claims === undefined || tenants.find(claims.tenant) === undefined ? undefined : credentialOf(claims);
    },
  };
}

function credentialOf(claims: LinkClaims): Credential {
  const { id, namespace, sandbox: name, tenant, expiresAtSeconds, mayWake } = claims;
  return {
    tenant,
    namespaces: new Set([namespace]),
    scopes: new Set(mayWake ? (['route', 'wake'] as const) : (['route'] as const)),
    credentialId: `link:${id}`,
    expiresAtMs: expiresAtSeconds * 1000,
    sandbox: { namespace, name },
    link: claims,
  };
}
