import { isDeepStrictEqual } from 'node:util';
import {
  ApiError,
  FIRST_OBSERVED_ANNOTATION,
  FIRST_READY_ANNOTATION,
  isApiError,
  SANDBOX_CLAIMS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
  type SandboxTemplate,
} from '../../../kubernetes/index.ts';
import { conditionOf } from '../conditions.ts';
import { deleteIfThere, find } from '../sandbox/api.ts';
import { checkPodMetadata } from './pod-metadata.ts';
import { ClaimRejectedError } from './rejection.ts';
import { createResolver, type Resolution, type ResolverOptions } from './resolve.ts';
import { metadataSyncPatch } from './sandbox-for-claim.ts';
import { boundStatus, endsAtMs, unreadyStatus } from './status.ts';

/** What reconciling a claim needs. */
export interface ClaimReconcilerOptions extends ResolverOptions {
  /** Domains whose labels claims may set. */
  labelDomains: readonly string[];
  /** Asks for another pass over `namespace/name` later. */
  again(key: string, delayMs: number): void;
}

/** How a pass over a claim ended: with a Sandbox, without one for now, or there is nothing left to do. */
export type ClaimOutcome = 'bound' | 'waiting' | 'over';

const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** Failures of the API that pass by themselves: they say nothing of the claim. */
const PASSING = ['Conflict', 'AlreadyExists', 'Unreachable', 'ServiceUnavailable', 'Timeout', 'TooManyRequests'];
/** A Sandbox that is being deleted is looked at again after this time, if nothing was heard of it. */
const DELETION_RECHECK_MS = 5000;

/** One pass over one claim (contract section 2.7). */
export function createClaimReconciler(options: ClaimReconcilerOptions): (key: string) => Promise<ClaimOutcome> {
  const { client, events, now, labelDomains } = options;
  const resolver = createResolver(options);

  return async (key) => {
    const [namespace = '', name = ''] = key.split('/');
    const claim = await find<SandboxClaim>(client, SANDBOX_CLAIMS, { namespace, name });
    if (claim === undefined || claim.metadata.deletionTimestamp !== undefined) return 'over';
    const end = endsAtMs(claim);
    if (end !== undefined && end <= now().getTime()) return await expire(claim, key);
    try {
      const { sandbox } = await resolve(claim);
      const status = boundStatus(claim, sandbox, now());
      await writeStatus(claim, status);
      await noteTimes(claim, status);
      // Its Sandbox may have finished just now: that may be what the claim ends by.
      rememberEnd(key, endsAtMs({ ...claim, status }));
      return 'bound';
    } catch (error) {
      const rejection = rejectionOf(error);
      if (rejection === undefined) throw error;
      await writeStatus(claim, unreadyStatus(claim, { reason: rejection.code, message: rejection.message }, now()));
      if (!(error instanceof ClaimRejectedError)) throw error;
      const endsInMs = end === undefined ? LONGEST_TIMER_MS : end - now().getTime();
      options.again(key, Math.min(rejection.retryMs ?? LONGEST_TIMER_MS, endsInMs, LONGEST_TIMER_MS));
      return 'waiting';
    }
  };

  async function resolve(claim: SandboxClaim): Promise<Resolution> {
    checkPodMetadata(claim, labelDomains);
    const sandbox = await resolver.bound(claim);
    if (sandbox === undefined) return await resolver.obtain(claim, resolver.template(claim));
    if (sandbox.metadata.deletionTimestamp !== undefined)
      throw new ClaimRejectedError('SandboxMissing', 'Sandbox is being deleted', DELETION_RECHECK_MS);
    return { sandbox: await bringIntoStep(claim, sandbox), how: 'bound' };
  }

  /** What the claim adds to its Pod may change at any time. */
  async function bringIntoStep(claim: SandboxClaim, sandbox: Sandbox): Promise<Sandbox> {
    const template = optionalTemplate(claim);
    const patch = template === undefined ? undefined : metadataSyncPatch(claim, sandbox, template);
    if (patch === undefined) return sandbox;
    return await client.patch<Sandbox>(SANDBOXES, sandbox.metadata, patch, { type: 'merge' });
  }

  /** A claim that has its Sandbox outlives pool and template, unless it wants something that only the template can allow. */
  function optionalTemplate(claim: SandboxClaim): SandboxTemplate | undefined {
    const { labels = {}, annotations = {} } = claim.spec.additionalPodMetadata ?? {};
    try {
      return resolver.template(claim);
    } catch (error) {
      if (Object.keys(labels).length + Object.keys(annotations).length > 0) throw error;
      return undefined;
    }
  }

  /** First it is said, then Sandbox or claim go. A claim that is kept loses its Sandbox, and the data with it. */
  async function expire(claim: SandboxClaim, key: string): Promise<ClaimOutcome> {
    const policy = claim.spec.lifecycle?.shutdownPolicy ?? 'Retain';
    const said = conditionOf(claim, 'Ready')?.reason === 'ClaimExpired';
    const expired = { reason: 'ClaimExpired', message: 'Claim expired. Sandbox cleanup initiated.' };
    if (!said) {
      events.note(claim, 'ClaimExpired', `Claim expired; shutdown policy ${policy}`);
      await writeStatus(claim, unreadyStatus(claim, expired, now()));
    }
    if (policy !== 'Retain') {
      const propagationPolicy = policy === 'DeleteForeground' ? 'Foreground' : 'Background';
      await deleteIfThere(client, SANDBOX_CLAIMS, claim, { propagationPolicy });
      return 'over';
    }
    // A Sandbox of this name that is not ours is none of ours to delete.
    const sandbox = await resolver.bound(claim).catch((error) => {
      if (error instanceof ClaimRejectedError) return undefined;
      throw error;
    });
    if (sandbox === undefined) await writeStatus(claim, unreadyStatus(claim, expired, now(), true));
    else {
      if (sandbox.metadata.deletionTimestamp === undefined)
        await deleteIfThere(client, SANDBOXES, sandbox, { propagationPolicy: 'Background' });
      options.again(key, DELETION_RECHECK_MS);
    }
    return 'over';
  }

  function rememberEnd(key: string, endMs: number | undefined): void {
    if (endMs === undefined) return;
    options.again(key, Math.min(Math.max(1, endMs - now().getTime()), LONGEST_TIMER_MS));
  }

  async function writeStatus(claim: SandboxClaim, wanted: NonNullable<SandboxClaim['status']>): Promise<void> {
    const before = claim.status ?? {};
    if (isDeepStrictEqual(before, wanted)) return;
    const { uid } = claim.metadata;
    // Merge patches keep what they don't name: addresses that went must be named.
    const sandbox = wanted.sandbox === undefined ? null : { podIPs: null, ...wanted.sandbox };
    const patch = { metadata: { uid }, status: { conditions: wanted.conditions ?? null, sandbox } };
    try {
      await client.patch(SANDBOX_CLAIMS, claim.metadata, patch, { type: 'merge', subresource: 'status' });
    } catch (error) {
      if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) throw error;
    }
  }

  /** How long it took, for who measures: when the claim was first seen and first Ready. */
  async function noteTimes({ metadata }: SandboxClaim, status: NonNullable<SandboxClaim['status']>): Promise<void> {
    const { uid, annotations = {} } = metadata;
    if (annotations[FIRST_READY_ANNOTATION] !== undefined || conditionOf({ status }, 'Ready')?.status !== 'True')
      return;
    const time = now().toISOString();
    const changes = {
      [FIRST_OBSERVED_ANNOTATION]: annotations[FIRST_OBSERVED_ANNOTATION] ?? time,
      [FIRST_READY_ANNOTATION]: time,
    };
    await client.patch(SANDBOX_CLAIMS, metadata, { metadata: { uid, annotations: changes } }, { type: 'merge' });
  }
}

/** What a claim's status says of a failure; undefined for one that passes by itself. */
function rejectionOf(error: unknown): Pick<ClaimRejectedError, 'code' | 'message' | 'retryMs'> | undefined {
  if (error instanceof ClaimRejectedError) return error;
  if (error instanceof ApiError && PASSING.includes(error.code)) return undefined;
  return { code: 'ReconcilerError', message: `Error seen: ${(error as Error).message}`, retryMs: undefined };
}
