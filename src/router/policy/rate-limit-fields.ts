/**
 * One quota policy and where a caller stands in it, as the RateLimit header fields tell (draft-ietf-httpapi-ratelimit-headers-10).
 */
export interface Quota {
  /** Name of the policy, such as `tenant-requests`. */
  policy: string;
  /** How much there is. */
  quota: number;
  /** In how many seconds it comes anew; absent for what is given back. */
  windowSeconds?: number;
  /** What is counted; requests without it. */
  unit?: 'concurrent-requests';
  /** How much is left. */
  remaining: number;
  /** When there is more. */
  resetSeconds?: number;
}

/** Value of the field `RateLimit-Policy`. */
export function rateLimitPolicyField({ policy, quota, windowSeconds, unit }: Quota): string {
  const window = windowSeconds === undefined ? '' : `;w=${windowSeconds}`;
  return `"${policy}";q=${quota}${window}${unit === undefined ? '' : `;qu="${unit}"`}`;
}

/** Value of the field `RateLimit`. */
export function rateLimitField({ policy, remaining, resetSeconds }: Quota): string {
  return `"${policy}";r=${remaining}${resetSeconds === undefined ? '' : `;t=${Math.max(0, Math.ceil(resetSeconds))}`}`;
}
