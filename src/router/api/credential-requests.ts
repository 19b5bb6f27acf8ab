import { parseDurationMs } from '../../config/index.ts';
import type { Principal } from '../identity/index.ts';
import { ProblemError } from '../problem.ts';

const DEFAULT_MS = 3_600_000;
/** Rotating a key must not be the only way to be rid of what it has signed. */
const LONGEST_MS = 30 * 86_400_000;

/**
 * Unix seconds at which something minted in a caller's name ends: never after the credential that asked for it. @throws ProblemError for a lifetime that is none,
 * or where less than a second would be left
 */
export function endSecondsOf(principal: Principal, lifetime: string | undefined, nowMs: number): number {
  const lifetimeMs = lifetime === undefined ? DEFAULT_MS : parseDurationMs(lifetime);
  if (lifetimeMs < 1000 || lifetimeMs > LONGEST_MS)
    throw new ProblemError({ code: 'bad_request', detail: '"lifetime" must be between 1s and 30d.' });
  const endSeconds = Math.floor(Math.min(nowMs + lifetimeMs, principal.endsAtMs) / 1000);
  if (endSeconds * 1000 <= nowMs)
    throw new ProblemError({ code: 'forbidden', detail: 'The credential that asks ends before anything could begin.' });
  return endSeconds;
}

/** Unix seconds as an API shows them. */
export function timeOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}
