import { isDeepStrictEqual } from 'node:util';
import {
  isApiError,
  nameHash,
  type ResourceClient,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxTemplate,
  type SandboxWarmPool,
  TEMPLATE_HASH_LABEL,
  WARM_POOL_LABEL,
} from '../../../kubernetes/index.ts';
import type { EventRecorder } from '../events.ts';
import type { ExtensionCaches } from '../extension-caches.ts';
import { keyOf } from '../object-cache.ts';
import { ownerReferenceTo } from '../sandbox/ownership.ts';
import { blueprintHash } from '../template/blueprint.ts';
import type { MemberStart } from '../template-snapshot/index.ts';
import { isReady, isUnschedulable, memberOf, READINESS_GRACE_MS, surplusOf, unreadySinceMs } from './member.ts';
import type { Membership } from './membership.ts';

/** What reconciling a pool needs. */
export interface PoolReconcilerOptions {
  client: ResourceClient;
  caches: ExtensionCaches;
  membership: Membership;
  events: EventRecorder;
  now(): Date;
  /** How many members a pool may be given now, of those that it lacks: claims go first. */
  refillNow(pool: SandboxWarmPool, missing: number, members: number): number;
  /** How new members start. */
  startOf(template: SandboxTemplate): MemberStart;
  /** Asks for another pass over `namespace/name` later. */
  again(key: string, delayMs: number): void;
}

/** Members made or deleted in one pass, and at once (contract section 2.10). */
const LARGEST_BATCH = 300;
const WRITES_AT_ONCE = 16;
const RECHECK_MS = 60_000;
/** A refill that had to let claims go first is tried again after this time. */
const REFILL_RETRY_MS = 100;

/** One pass over one pool (contract section 2.8). */
export function createPoolReconciler(options: PoolReconcilerOptions): (key: string) => Promise<void> {
  const { client, caches, membership, events, now, again } = options;
  /** Pools that were said not to progress, and why. */
  const stuck = new Map<string, string>();

  return async (key) => {
    const pool = caches.pools.get(key);
    if (pool === undefined || pool.metadata.deletionTimestamp !== undefined) {
      stuck.delete(key);
      return;
    }
    await adoptOrphans(pool);
    const template = caches.templates.get(`${pool.metadata.namespace ?? ''}/${pool.spec.sandboxTemplateRef.name}`);
    const wanted = pool.spec.replicas ?? 1;
    let members = membership.of(pool);
    const unfit = new Set([...staleMembers(pool, template, members), ...overdueMembers(members, key)]);
    await remove([...unfit]);
    if (unfit.size > 0) members = membership.of(pool);
    await remove(surplusOf(members, wanted));
    if (template !== undefined && members.length < wanted)
      await fill(pool, template, wanted - members.length, members.length, key);
    tellProgress(pool, template, members, key);
    await writeStatus(pool);
  };

  async function adoptOrphans(pool: SandboxWarmPool): Promise<void> {
    for (const { metadata } of membership.orphansOf(pool)) {
      const { uid, resourceVersion } = metadata;
      const patch = { metadata: { uid, resourceVersion, ownerReferences: [ownerReferenceTo(pool)] } };
      await ignoringChanges(client.patch(SANDBOXES, metadata, patch, { type: 'merge' }));
    }
  }

  function staleMembers(pool: SandboxWarmPool, template: SandboxTemplate | undefined, members: Sandbox[]): Sandbox[] {
    if (pool.spec.updateStrategy?.type !== 'Recreate' || template === undefined) return [];
    const current = blueprintHash(template);
    return members.filter(({ metadata }) => metadata.labels?.[TEMPLATE_HASH_LABEL] !== current);
  }

  /** Members that had their time to get Ready; those that wait for room on a node are only looked at again. */
  function overdueMembers(members: Sandbox[], key: string): Sandbox[] {
    const overdue: Sandbox[] = [];
    let nextMs = Number.POSITIVE_INFINITY;
    for (const sandbox of members) {
      const sinceMs = unreadySinceMs(sandbox);
      if (sinceMs === undefined) continue;
      const remainingMs = sinceMs + READINESS_GRACE_MS - now().getTime();
      if (remainingMs > 0) nextMs = Math.min(nextMs, remainingMs);
      else if (isUnschedulable(sandbox)) nextMs = Math.min(nextMs, RECHECK_MS);
      else overdue.push(sandbox);
    }
    if (nextMs < Number.POSITIVE_INFINITY) again(key, nextMs);
    return overdue;
  }

  async function remove(sandboxes: Sandbox[]): Promise<void> {
    await inParallel(sandboxes.slice(0, LARGEST_BATCH), async (sandbox) => {
      const { uid = '', resourceVersion = '' } = sandbox.metadata;
      // Exactly as it was seen: a claim may take it at this moment.
      const gone = await ignoringChanges(client.delete(SANDBOXES, sandbox.metadata, { uid, resourceVersion }));
      if (gone) membership.deleted(sandbox);
    });
  }

  async function fill(
    pool: SandboxWarmPool,
    template: SandboxTemplate,
    missing: number,
    members: number,
    key: string,
  ): Promise<void> {
    const start = options.startOf(template);
    // Whoever makes the snapshot tells when it is there.
    if (start.how === 'wait') return;
    const count = Math.min(LARGEST_BATCH, options.refillNow(pool, missing, members));
    const member = memberOf(pool, template, start.how === 'copy' ? start.snapshot : undefined);
    await inParallel(Array.from({ length: count }), async () => {
      membership.made(pool, await client.create<Sandbox>(SANDBOXES, member));
    });
    if (count < missing) again(key, REFILL_RETRY_MS);
  }

  /** An Event when a pool stops getting members Ready, and one when it goes on. */
  function tellProgress(
    pool: SandboxWarmPool,
    template: SandboxTemplate | undefined,
    members: Sandbox[],
    key: string,
  ): void {
    const nowMs = now().getTime();
    const late = members.filter((sandbox) => (unreadySinceMs(sandbox) ?? nowMs) + READINESS_GRACE_MS <= nowMs).length;
    const why =
      template === undefined
        ? `SandboxTemplate "${pool.spec.sandboxTemplateRef.name}" not found`
        : late > 0
          ? `${late} sandboxes are not Ready for over ${READINESS_GRACE_MS / 60_000} minutes`
          : '';
    if ((stuck.get(key) ?? '') === why) return;
    if (why === '') events.note(pool, 'WarmPoolProgressing', 'The pool gets sandboxes Ready again');
    else events.warn(pool, 'WarmPoolNotProgressing', why);
    if (why === '') stuck.delete(key);
    else stuck.set(key, why);
  }

  async function writeStatus(pool: SandboxWarmPool): Promise<void> {
    const members = membership.of(pool);
    const status: SandboxWarmPool['status'] = {
      replicas: members.length,
      readyReplicas: members.filter(isReady).length,
      selector: `${WARM_POOL_LABEL}=${nameHash(pool.metadata.name)}`,
      observedGeneration: pool.metadata.generation ?? 0,
    };
    // The cache may be a write behind; a write too many changes nothing.
    const seen = caches.pools.get(keyOf(pool)) ?? pool;
    if (isDeepStrictEqual(seen.status, status)) return;
    const patch = { metadata: { uid: pool.metadata.uid }, status };
    await ignoringChanges(
      client.patch(SANDBOX_WARM_POOLS, pool.metadata, patch, { type: 'merge', subresource: 'status' }),
    );
  }
}

/** False when the object changed or went meanwhile: the watch brings that, and with it another pass. */
async function ignoringChanges(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) throw error;
    return false;
  }
}

async function inParallel<T>(items: T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = items.values();
  const worker = async () => {
    for (const item of waiting) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(WRITES_AT_ONCE, items.length) }, worker));
}
