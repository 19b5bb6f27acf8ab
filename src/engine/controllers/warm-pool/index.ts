import type { ResourceClient, SandboxTemplate } from '../../../kubernetes/index.ts';
import { createEventRecorder } from '../events.ts';
import type { ExtensionCaches } from '../extension-caches.ts';
import { keyOf } from '../object-cache.ts';
import type { TemplateSnapshots } from '../template-snapshot/index.ts';
import { createWorkQueue } from '../work-queue.ts';
import { createMembership } from './membership.ts';
import { createPoolReconciler, type PoolReconcilerOptions } from './reconcile.ts';

/** What the pool controller needs. */
export interface PoolControllerOptions extends Pick<PoolReconcilerOptions, 'refillNow'> {
  client: ResourceClient;
  caches: ExtensionCaches;
  /** Absent where Pods can't be copied. */
  templateSnapshots: TemplateSnapshots | undefined;
  now(): Date;
  failed(what: string, error: unknown): void;
}

/** Changes of many members within this time are looked at once. */
const GATHER_MS = 100;

/** Pools → Sandboxes that wait for claims (contract section 2.8). */
export function startPoolController(options: PoolControllerOptions): { close(): Promise<void> } {
  const { client, caches, failed, now } = options;
  const gathering = new Map<string, NodeJS.Timeout>();
  const queue = createWorkQueue({
    reconcile: async (key) => {
      // A pool whose members are not all known yet would be filled twice.
      await caches.synced;
      await reconcile(key);
    },
    failed: (key, error) => failed(`warm pool ${key}`, error),
  });
  const membership = createMembership(caches.sandboxes, () => now().getTime(), gather);
  const reconcile = createPoolReconciler({
    ...options,
    startOf: (template) => options.templateSnapshots?.startOf(template) ?? { how: 'command' },
    membership,
    events: createEventRecorder(client, 'sandboxwarmpool-controller', now, failed),
    again: queue.addAfter,
  });

  function gather(key: string): void {
    if (gathering.has(key)) return;
    const timer = setTimeout(() => {
      gathering.delete(key);
      queue.add(key);
    }, GATHER_MS);
    gathering.set(key, timer);
  }

  caches.pools.listen((after, before) => {
    // Its own status is no news.
    if (after !== undefined && after.metadata.generation === before?.metadata.generation) return;
    const pool = after ?? before;
    if (pool !== undefined) queue.add(keyOf(pool));
  });
  caches.templates.listen((after, before) => {
    const template = after ?? before;
    if (template !== undefined) lookAtPoolsOf(template);
  });
  options.templateSnapshots?.onChange(lookAtPoolsOf);

  function lookAtPoolsOf(template: SandboxTemplate): void {
    for (const pool of caches.pools.values())
      if (
        pool.metadata.namespace === template.metadata.namespace &&
        pool.spec.sandboxTemplateRef.name === template.metadata.name
      )
        queue.add(keyOf(pool));
  }

  return {
    close: async () => {
      for (const timer of gathering.values()) clearTimeout(timer);
      await queue.close();
    },
  };
}
