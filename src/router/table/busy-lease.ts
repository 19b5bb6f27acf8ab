/** Longest lease: code inside that wants more has to renew it. */
export const LONGEST_BUSY_LEASE_MS = 3_600_000;
const MOST_REASON_CHARACTERS = 200;

/** Somebody inside a sandbox works, and nobody outside sees it. */
export interface BusyLease {
  /** Milliseconds since the epoch. */
  untilMs: number;
  why: string;
}

/** The lease of a Pod's annotations `sandbox-router/busy-until` (RFC 3339) and `sandbox-router/busy-why`; undefined where there is none, or none that can be read. */
export function busyLease(until: string | undefined, why: string | undefined): BusyLease | undefined {
  if (until === undefined || !/^\d{4}-\d\d-\d\dT/.test(until)) return undefined;
  const untilMs = Date.parse(until);
  return Number.isNaN(untilMs) ? undefined : { untilMs, why: (why ?? '').slice(0, MOST_REASON_CHARACTERS) };
}

/** How long a lease yet lasts; never longer than a lease may be, whatever it says. */
export function busyMs(lease: BusyLease | undefined, nowMs: number): number {
  const remainingMs = (lease?.untilMs ?? 0) - nowMs;
  return remainingMs > 0 && remainingMs <= LONGEST_BUSY_LEASE_MS ? remainingMs : 0;
}
