import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Authenticator, Principal } from './identity.ts';

/** Longest credential that is looked at. */
const LONGEST_CREDENTIAL = 8192;
/** How long decisions are remembered; a revoked key is refused after this time at the latest. */
const CACHE_TTL_MS = 10_000;
const NEGATIVE_TTL_MS = 1000;
const CACHE_SIZE = 20_000;

const REFUSED = Symbol('refused');

/** Decides who calls; `undefined` means nobody that is known. */
export interface Identity {
  /** The decision if it is remembered, without waiting: what the hot path asks first. */
  cached(credential: string, nowMs: number): Principal | undefined;
  authenticate(credential: string | undefined, nowMs: number): Promise<Principal | undefined>;
  /** Forgets every decision (keys were reloaded). */
  forget(): void;
}

/** The authenticators in their order, behind a cache that is keyed by a hash of the credential and never outlives it. */
export function createIdentity(authenticators: readonly Authenticator[]): Identity {
  const decisions = new LRUCache<string, Principal | typeof REFUSED>({ max: CACHE_SIZE, ttl: CACHE_TTL_MS });
  const keyOf = (credential: string) => createHash('sha256').update(credential).digest('base64');

  function remembered(key: string, nowMs: number): Principal | typeof REFUSED | undefined {
    const decision = decisions.get(key);
    if (decision === undefined || decision === REFUSED) return decision;
    return decision.expiresAtMs > nowMs ? decision : REFUSED;
  }

  return {
    cached: (credential, nowMs) => {
      if (credential.length > LONGEST_CREDENTIAL) return undefined;
      const decision = remembered(keyOf(credential), nowMs);
      return decision === REFUSED ? undefined : decision;
    },
    authenticate: async (credential, nowMs) => {
      if (credential === undefined || credential === '' || credential.length > LONGEST_CREDENTIAL) return undefined;
      const key = keyOf(credential);
      const known = remembered(key, nowMs);
      if (known !== undefined) return known === REFUSED ? undefined : known;
      for (const authenticator of authenticators) {
        const principal = await authenticator.authenticate(credential, nowMs);
        if (principal === undefined || principal.expiresAtMs <= nowMs) continue;
        decisions.set(key, principal, { ttl: Math.max(1, Math.min(CACHE_TTL_MS, principal.expiresAtMs - nowMs)) });
        return principal;
      }
      decisions.set(key, REFUSED, { ttl: NEGATIVE_TTL_MS });
      return undefined;
    },
    forget: () => decisions.clear(),
  };
}

/** The token of a `Bearer` credential: the scheme in any case, one token, nothing else (contract section 3.9). */
export function bearerToken(header: string | undefined): string | undefined {
  if (header === undefined || header.length < 8) return undefined;
  if (header.charCodeAt(6) !== 32 || header.slice(0, 6).toLowerCase() !== 'bearer') return undefined;
  const token = header.slice(7).trim();
  return token === '' || token.includes(' ') ? undefined : token;
}
