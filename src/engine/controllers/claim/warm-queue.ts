import {
  type Sandbox,
  TEMPLATE_HASH_LABEL,
  TEMPLATE_REF_HASH_LABEL,
  WARM_POOL_LABEL,
} from '../../../kubernetes/index.ts';
import { conditionOf } from '../conditions.ts';
import type { SharedCache } from '../extension-caches.ts';
import { keyOf } from '../object-cache.ts';
import { controllerOf } from '../sandbox/ownership.ts';

/** Members of pools that claims may take, in the order in which they came. */
export interface WarmQueue {
  /**
   * The best member that is left (contract section 2.7), which is then nobody else's until it is given back. `freshHash` leaves out members of
   * another blueprint. `waiting` when there are members, but none with an address yet.
   */
  take(poolUid: string, freshHash?: string): Sandbox | 'waiting' | undefined;
  /** A member that was not adopted after all. */
  giveBack(sandbox: Sandbox): void;
}

/** Nodes by name (`''`: none yet), each with its candidates by `namespace/name`. */
type Pool = Map<string, Map<string, Sandbox>>;

/** Follows the Sandboxes; `available` hears of the namespace in which a candidate became Ready. */
export function createWarmQueue(sandboxes: SharedCache<Sandbox>, available: (namespace: string) => void): WarmQueue {
  const pools = new Map<string, Pool>();
  const taken = new Set<string>();

  sandboxes.listen((after, before) => {
    const uid = (after ?? before)?.metadata.uid ?? '';
    const poolBefore = before === undefined ? undefined : poolUidOf(before);
    const poolAfter = after === undefined ? undefined : poolUidOf(after);
    // Adopted or gone: it never comes back as a candidate under this UID, save by giveBack.
    if (poolAfter === undefined) taken.delete(uid);
    if (before !== undefined && (poolBefore !== poolAfter || nodeOf(before) !== nodeOf(after))) drop(before);
    if (after === undefined || poolAfter === undefined || taken.has(uid)) return;
    put(poolAfter, after);
    if (isReady(after) && (before === undefined || !isReady(before))) available(after.metadata.namespace ?? '');
  });

  function put(poolUid: string, sandbox: Sandbox): void {
    const pool: Pool = pools.get(poolUid) ?? new Map();
    const node = nodeOf(sandbox);
    const entries = pool.get(node) ?? new Map<string, Sandbox>();
    pools.set(poolUid, pool.set(node, entries.set(keyOf(sandbox), sandbox)));
  }

  function drop(sandbox: Sandbox): void {
    const poolUid = poolUidOf(sandbox);
    const pool = poolUid === undefined ? undefined : pools.get(poolUid);
    const entries = pool?.get(nodeOf(sandbox));
    entries?.delete(keyOf(sandbox));
    if (entries?.size === 0) pool?.delete(nodeOf(sandbox));
    if (pool?.size === 0 && poolUid !== undefined) pools.delete(poolUid);
  }

  return {
    take: (poolUid, freshHash) => {
      let fallback: Sandbox | undefined;
      let waiting = false;
      for (const [, entries] of inOrder(pools.get(poolUid)))
        for (const sandbox of entries.values()) {
          if (freshHash !== undefined && sandbox.metadata.labels?.[TEMPLATE_HASH_LABEL] !== freshHash) continue;
          if ((sandbox.status?.podIPs ?? []).length === 0) {
            waiting = true;
            continue;
          }
          if (isReady(sandbox)) return taking(sandbox);
          fallback ??= sandbox;
        }
      return fallback === undefined ? (waiting ? 'waiting' : undefined) : taking(fallback);
    },
    giveBack: (sandbox) => {
      taken.delete(sandbox.metadata.uid ?? '');
      const current = sandboxes.get(keyOf(sandbox));
      const poolUid = current === undefined ? undefined : poolUidOf(current);
      if (current !== undefined && poolUid !== undefined && current.metadata.uid === sandbox.metadata.uid)
        put(poolUid, current);
    },
  };

  function taking(sandbox: Sandbox): Sandbox {
    taken.add(sandbox.metadata.uid ?? '');
    drop(sandbox);
    return sandbox;
  }
}

/** UID of the pool in which a Sandbox waits for a claim; undefined for any other Sandbox. */
export function poolUidOf(sandbox: Sandbox): string | undefined {
  const { labels = {}, deletionTimestamp } = sandbox.metadata;
  const owner = controllerOf(sandbox);
  const waits =
    owner?.kind === 'SandboxWarmPool' &&
    deletionTimestamp === undefined &&
    labels[WARM_POOL_LABEL] !== undefined &&
    labels[TEMPLATE_REF_HASH_LABEL] !== undefined &&
    conditionOf(sandbox, 'Finished')?.status !== 'True';
  return waits ? owner.uid : undefined;
}

/** Nodes with most candidates first, so that claims spread; those without a node last. */
function inOrder(pool: Pool | undefined): [string, Map<string, Sandbox>][] {
  return [...(pool ?? [])].sort(
    ([left, leftEntries], [right, rightEntries]) =>
      Number(left === '') - Number(right === '') || rightEntries.size - leftEntries.size,
  );
}

function nodeOf(sandbox: Sandbox | undefined): string {
  return sandbox?.status?.nodeName ?? '';
}

function isReady(sandbox: Sandbox): boolean {
  return conditionOf(sandbox, 'Ready')?.status === 'True';
}
