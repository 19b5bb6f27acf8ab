import { createHash, timingSafeEqual } from 'node:crypto';
import { failure } from '../errors.ts';
import type { Caller } from '../kinds/index.ts';

/** A bearer token that the API takes, and who its bearer is. */
export interface EngineToken {
  token: string;
  caller: Caller;
}

/** Finds whose token that is, in a time that tells nothing of any token. */
export type TokenLookup = (token: string) => Caller | undefined;

/** A lookup in these tokens; only their hashes are kept. */
export function createTokenLookup(tokens: readonly EngineToken[]): TokenLookup {
  const known = tokens.map(({ token, caller }) => ({ hash: hash(token), caller }));
  return (token) => {
    const presented = hash(token);
    let found: Caller | undefined;
    for (const { hash: expected, caller } of known) if (timingSafeEqual(expected, presented)) found = caller;
    return found;
  };
}

function hash(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** Who sends a request with this Authorization header. @throws ApiError Unauthorized */
export function authenticate(lookup: TokenLookup, authorization: string | undefined): Caller {
  const token = /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
  const caller = token === undefined ? undefined : lookup(token);
  if (caller === undefined) throw failure(401, 'Unauthorized', 'Unauthorized');
  return caller;
}

/**
 * True for a Host header that names this server by an address of its own: a web page that makes its own name resolve to loopback (DNS
 * rebinding) is refused.
 */
export function isOwnHost(host: string | undefined, allowed: ReadonlySet<string>): boolean {
  if (host === undefined) return false;
  const name = host
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase();
  return allowed.has(name);
}
