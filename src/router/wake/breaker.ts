import type { WakeFailure } from './readiness.ts';

/** After so many failed wakes in a row a sandbox is asked for only now and then. */
const FAILURES = 3;
/** How long it is left alone then. */
export const BREAKER_MS = 5000;

/** Keeps wakes that fail again and again from being tried for every request. */
export interface Breaker {
  /** The last failure and how long it stands, while the breaker of this sandbox is open. */
  open(sandboxUid: string): { failure: WakeFailure; remainingMs: number } | undefined;
  succeeded(sandboxUid: string): void;
  failed(sandboxUid: string, failure: WakeFailure): void;
}

/** All closed. */
export function createBreaker(nowMs: () => number): Breaker {
  const states = new Map<string, { failures: number; openUntilMs: number; failure: WakeFailure }>();
  return {
    open: (uid) => {
      const state = states.get(uid);
      const remainingMs = (state?.openUntilMs ?? 0) - nowMs();
      return state === undefined || remainingMs <= 0 ? undefined : { failure: state.failure, remainingMs };
    },
    succeeded: (uid) => void states.delete(uid),
    failed: (uid, failure) => {
      const failures = (states.get(uid)?.failures ?? 0) + 1;
      states.set(uid, { failures, openUntilMs: failures >= FAILURES ? nowMs() + BREAKER_MS : 0, failure });
    },
  };
}
