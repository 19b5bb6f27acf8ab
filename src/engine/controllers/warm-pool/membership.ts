import { nameHash, type Sandbox, type SandboxWarmPool, WARM_POOL_LABEL } from '../../../kubernetes/index.ts';
import type { SharedCache } from '../extension-caches.ts';
import { keyOf } from '../object-cache.ts';
import { controllerOf } from '../sandbox/ownership.ts';

/** Which Sandboxes belong to which pool, as the watch tells it and as this controller's own writes foretell it. */
export interface Membership {
  /** Members that are there to stay, those just made included. */
  of(pool: SandboxWarmPool): Sandbox[];
  /** Sandboxes with the pool's label and without any controller. */
  orphansOf(pool: SandboxWarmPool): Sandbox[];
  /** A member was made, and the watch has not told of it yet. */
  made(pool: SandboxWarmPool, sandbox: Sandbox): void;
  /** A member's deletion was asked for. */
  deleted(sandbox: Sandbox): void;
}

/** What the watch has not told of after this time, it will never tell. */
const FORETOLD_MS = 30_000;

/**
 * Keeps count without asking: a list after each write would be late, and a pool that trusts a late watch makes members twice.
 * `changed` hears of each pool (`namespace/name`) whose members changed.
 */
export function createMembership(
  sandboxes: SharedCache<Sandbox>,
  nowMs: () => number,
  changed: (poolKey: string) => void,
): Membership {
  const byPool = new Map<string, Map<string, Sandbox>>();
  const orphans = new Map<string, Map<string, Sandbox>>();
  const foretold = new Map<string, Map<string, { sandbox: Sandbox; untilMs: number }>>();
  const leaving = new Map<string, number>();

  sandboxes.listen((after, before) => {
    if (before !== undefined) place(before, false);
    if (after !== undefined) place(after, true);
    else leaving.delete(before?.metadata.uid ?? '');
  });

  function place(sandbox: Sandbox, there: boolean): void {
    const { namespace = '', labels, uid = '' } = sandbox.metadata;
    const owner = controllerOf(sandbox);
    const key = keyOf(sandbox);
    if (owner?.kind === 'SandboxWarmPool') {
      put(byPool, owner.uid, key, there ? sandbox : undefined);
      foretold.get(owner.uid)?.delete(key);
      changed(`${namespace}/${owner.name}`);
    } else if (owner === undefined && labels?.[WARM_POOL_LABEL] !== undefined) {
      put(orphans, `${namespace}/${labels[WARM_POOL_LABEL]}`, key, there ? sandbox : undefined);
    } else {
      // Adopted, perhaps before the watch told that it was made.
      for (const made of foretold.values()) if (made.get(key)?.sandbox.metadata.uid === uid) made.delete(key);
    }
  }

  function isLeaving({ metadata }: Sandbox): boolean {
    const untilMs = leaving.get(metadata.uid ?? '') ?? 0;
    return metadata.deletionTimestamp !== undefined || untilMs > nowMs();
  }

  return {
    of: ({ metadata: { uid = '' } }) => {
      const made = [...(foretold.get(uid)?.values() ?? [])].filter(({ untilMs }) => untilMs > nowMs());
      const known = byPool.get(uid)?.values() ?? [];
      return [...known, ...made.map(({ sandbox }) => sandbox)].filter((sandbox) => !isLeaving(sandbox));
    },
    orphansOf: ({ metadata: { namespace = '', name } }) =>
      [...(orphans.get(`${namespace}/${nameHash(name)}`)?.values() ?? [])].filter((sandbox) => !isLeaving(sandbox)),
    made: ({ metadata: { uid = '' } }, sandbox) => {
      const key = keyOf(sandbox);
      if (sandboxes.get(key) !== undefined) return;
      const made = foretold.get(uid) ?? new Map<string, { sandbox: Sandbox; untilMs: number }>();
      foretold.set(uid, made.set(key, { sandbox, untilMs: nowMs() + FORETOLD_MS }));
    },
    deleted: ({ metadata: { uid = '' } }) => {
      leaving.set(uid, nowMs() + FORETOLD_MS);
    },
  };
}

function put(index: Map<string, Map<string, Sandbox>>, group: string, key: string, sandbox: Sandbox | undefined): void {
  const entries = index.get(group) ?? new Map<string, Sandbox>();
  if (sandbox === undefined) entries.delete(key);
  else entries.set(key, sandbox);
  if (entries.size > 0) index.set(group, entries);
  else index.delete(group);
}
