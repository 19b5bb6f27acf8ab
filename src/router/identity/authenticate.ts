import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Tenants } from '../policy/index.ts';
import type { Authenticator, Principal } from './identity.ts';
import { principalOf } from './principal.ts';

/** Longest credential that is looked at. */
const LONGEST_CREDENTIAL = 8192;
/** How long decisions are remembered; a revoked key is refused after this time at the latest. */
const CACHE_TTL_MS = 10_000;
const NEGATIVE_TTL_MS = 1000;
const CACHE_SIZE = 20_000;
/** How exact these times are: by default the cache sets a timer for every millisecond in which it is asked. */
const CLOCK_MS = 100;

/** Decides who calls; `undefined` means nobody that is known. */
export interface Identity {
  /** The decision if it is remembered, without waiting: what the hot path asks first. */
  cached(credential: string, nowMs: number): Principal | undefined;
  authenticate(credential: string | undefined, nowMs: number): Promise<Principal | undefined>;
  /** Forgets every decision (keys were reloaded). */
  forget(): void;
}

/** The authenticators in their order, behind a cache that is keyed by a hash of the credential and never outlives it. */
export function createIdentity(authenticators: readonly Authenticator[], tenants: Tenants): Identity {
  const accepted = new LRUCache<string, Principal>({ max: CACHE_SIZE, ttl: CACHE_TTL_MS, ttlResolution: CLOCK_MS });
  // Apart, so that whoever tries many credentials puts nobody out.
  const refused = new LRUCache<string, true>({ max: CACHE_SIZE, ttl: NEGATIVE_TTL_MS, ttlResolution: CLOCK_MS });
  /** Counts what was forgotten: a decision that began before must not be remembered after. */
  let generation = 0;
  const keyOf = (credential: string) => hash('sha256', credential, 'base64');

  function known(key: string, nowMs: number): Principal | undefined {
    const principal = accepted.get(key);
    return principal !== undefined && principal.expiresAtMs > nowMs ? principal : undefined;
  }

  async function decide(credential: string, nowMs: number): Promise<Principal | undefined> {
    for (const authenticator of authenticators) {
      const said = await authenticator.authenticate(credential, nowMs);
      if (said !== undefined && said.expiresAtMs > nowMs) return principalOf(said, tenants);
    }
    return undefined;
  }

  return {
    cached: (credential, nowMs) =>
      credential.length > LONGEST_CREDENTIAL ? undefined : known(keyOf(credential), nowMs),
    authenticate: async (credential, nowMs) => {
      if (credential === undefined || credential === '' || credential.length > LONGEST_CREDENTIAL) return undefined;
      const key = keyOf(credential);
      const remembered = known(key, nowMs);
      if (remembered !== undefined || refused.has(key)) return remembered;
      const startedIn = generation;
      const principal = await decide(credential, nowMs);
      if (startedIn !== generation) return principal;
      if (principal === undefined) refused.set(key, true);
      else {
        const ttl = Math.max(1, Math.min(CACHE_TTL_MS, principal.expiresAtMs - nowMs));
        accepted.set(key, principal, { ttl });
      }
      return principal;
    },
    forget: () => {
      generation++;
      accepted.clear();
      refused.clear();
    },
  };
}

/** The token of a `Bearer` credential: the scheme in any case, one token, nothing else (contract section 3.9). */
export function bearerToken(header: string | undefined): string | undefined {
  if (header === undefined || header.length < 8) return undefined;
  if (header.charCodeAt(6) !== 32 || header.slice(0, 6).toLowerCase() !== 'bearer') return undefined;
  const token = header.slice(7).trim();
  return token === '' || token.includes(' ') ? undefined : token;
}
