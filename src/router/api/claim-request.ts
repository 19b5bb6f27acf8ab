import { createHash, randomBytes } from 'node:crypto';
import { parseDurationMs } from '../../config/index.ts';
import { apiVersionOf, SANDBOX_CLAIMS, type SandboxClaim } from '../../kubernetes/index.ts';
import { ProblemError } from '../problem.ts';

/** Body of `POST /-/v1/claims`, as its schema lets it in. */
export interface ClaimRequest {
  pool?: string;
  template?: string;
  namespace?: string;
  name?: string;
  env?: { name: string; value: string; containerName?: string }[];
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  lifetime?: string;
  shutdownTime?: string;
  shutdownPolicy?: 'Delete' | 'Retain';
  wait?: string;
}

/** Annotation on a claim: SHA-256 of the request that made it, by which a repeated one is told from another with the same key. */
export const REQUEST_HASH_ANNOTATION = 'sandbox-router/request-sha256';
/** Longest wait for a claim. */
const LONGEST_WAIT_MS = 120_000;
/** Furthest end of a claim that a request may set. */
const LONGEST_LIFETIME_MS = 10 * 365 * 86_400_000;

/** Name of a claim: the one asked for, else one that the tenant's key leads to on every replica alike, else a fresh one. */
export function claimNameOf(
  { name }: ClaimRequest,
  tenant: string,
  namespace: string,
  idempotencyKey: string | undefined,
): string {
  if (name !== undefined) return name;
  if (idempotencyKey === undefined) return `claim-${randomBytes(8).toString('hex')}`;
  // Parts are told apart by what none of them can contain.
  return `claim-${sha256(`${tenant}\0${namespace}\0${idempotencyKey}`).slice(0, 32)}`;
}

/** Hash of what a request asks for; how long it waits for the answer is not part of that. Order of fields does not matter. */
export function requestHashOf({ wait: _wait, ...asked }: ClaimRequest): string {
  return sha256(JSON.stringify(sorted(asked)));
}

/** The object that is to be created. @throws ProblemError bad_request for an end in the past */
export function claimOf(
  request: ClaimRequest,
  { namespace, name, pool, now }: { namespace: string; name: string; pool: string; now: Date },
): SandboxClaim {
  const shutdownTime = endOf(request, now);
  const { env, labels, annotations, shutdownPolicy } = request;
  return {
    apiVersion: apiVersionOf(SANDBOX_CLAIMS),
    kind: SANDBOX_CLAIMS.kind,
    metadata: { namespace, name, annotations: { [REQUEST_HASH_ANNOTATION]: requestHashOf(request) } },
    spec: {
      warmPoolRef: { name: pool },
      ...(env === undefined ? {} : { env }),
      ...(labels === undefined && annotations === undefined
        ? {}
        : { additionalPodMetadata: { ...(labels && { labels }), ...(annotations && { annotations }) } }),
      ...(shutdownTime === undefined && shutdownPolicy === undefined
        ? {}
        : { lifecycle: { ...(shutdownTime && { shutdownTime }), ...(shutdownPolicy && { shutdownPolicy }) } }),
    },
  };
}

/** When it ends, as RFC 3339 in whole seconds; undefined for never. @throws ProblemError bad_request unless that is ahead */
export function endOf(
  { lifetime, shutdownTime }: Pick<ClaimRequest, 'lifetime' | 'shutdownTime'>,
  now: Date,
): string | undefined {
  if (lifetime === undefined && shutdownTime === undefined) return undefined;
  const endMs =
    shutdownTime === undefined ? now.getTime() + parseDurationMs(lifetime ?? '') : new Date(shutdownTime).getTime();
  if (!(endMs > now.getTime()) || endMs > now.getTime() + LONGEST_LIFETIME_MS)
    throw new ProblemError({
      code: 'bad_request',
      detail: `${shutdownTime === undefined ? 'lifetime' : 'shutdownTime'} must lie ahead, ten years at most.`,
    });
  return new Date(endMs).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** How long to wait for a claim. @throws ProblemError bad_request over two minutes */
export function waitMsOf({ wait }: ClaimRequest): number {
  const waitMs = wait === undefined ? 0 : parseDurationMs(wait);
  if (waitMs > LONGEST_WAIT_MS)
    throw new ProblemError({ code: 'bad_request', detail: `wait may be ${LONGEST_WAIT_MS / 60_000}m at most.` });
  return waitMs;
}

function sha256(value: string): string {
  return createHash('sha256').update(value).digest('hex');
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(entries.map(([name, item]) => [name, sorted(item)]));
}
