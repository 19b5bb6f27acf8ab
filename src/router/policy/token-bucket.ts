/** A rate with a burst: `perSecond` tokens arrive each second, at most `burst` are saved up. */
export interface Rate {
  perSecond: number;
  burst: number;
}

/**
 * The state of one bucket is a single number: the time at which it will be full again (GCRA). A fresh bucket is full, so 0 starts one.
 */
export interface TokenBucket {
  fullAtMs: number;
}

/** Takes one token; returns 0 if there was one, else the milliseconds until there is (nothing is taken then). */
export function takeToken(bucket: TokenBucket, rate: Rate, nowMs: number): number {
  const intervalMs = 1000 / rate.perSecond;
  const fullAtMs = Math.max(bucket.fullAtMs, nowMs);
  const waitMs = fullAtMs + intervalMs - nowMs - rate.burst * intervalMs;
  if (waitMs > 1e-6) return waitMs;
  bucket.fullAtMs = fullAtMs + intervalMs;
  return 0;
}

/** Whole tokens left, and the milliseconds until the bucket is full: what the RateLimit header fields tell. */
export function tokensLeft(bucket: TokenBucket, rate: Rate, nowMs: number): { remaining: number; resetMs: number } {
  const resetMs = Math.max(0, bucket.fullAtMs - nowMs);
  return { remaining: Math.max(0, Math.floor(rate.burst - (resetMs * rate.perSecond) / 1000 + 1e-9)), resetMs };
}
