import { isDeepStrictEqual } from 'node:util';
import {
  type ResourceClient,
  type Sandbox,
  type SandboxClaim,
  TRACE_CONTEXT_ANNOTATION,
} from '../../../kubernetes/index.ts';
import { createEventRecorder } from '../events.ts';
import type { ExtensionCaches } from '../extension-caches.ts';
import { keyOf } from '../object-cache.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { createWorkQueue } from '../work-queue.ts';
import { DEFAULT_LABEL_DOMAINS } from './pod-metadata.ts';
import { createClaimReconciler } from './reconcile.ts';
import { createWarmQueue } from './warm-queue.ts';

/** What the claim controller needs. */
export interface ClaimControllerOptions {
  client: ResourceClient;
  caches: ExtensionCaches;
  /** Domains whose labels claims may set; `sandbox.users.io` by default. */
  labelDomains?: readonly string[];
  now(): Date;
  failed(what: string, error: unknown): void;
}

/** A running claim controller. */
export interface ClaimController {
  /** Whether new claims wait at this moment, came a moment ago, or neither. */
  rush(): 'now' | 'lately' | 'none';
  close(): Promise<void>;
}

/** Claims worked on at once (contract section 2.10). */
const WORKERS = 50;
/** Every claim is looked at again after this time, whatever was or wasn't heard of it. */
const RESYNC_MS = 10 * 60_000;
/** Claims come in bursts: another one is likely for so long after the last. */
const LATELY_MS = 250;

/** Claims → Sandboxes (contract section 2.7). */
export function startClaimController(options: ClaimControllerOptions): ClaimController {
  const { client, caches, failed, now } = options;
  /** Claims without a Sandbox, by namespace: what appears there may be what they wait for. */
  const waiting = new Map<string, Set<string>>();
  /** Claims that came and were not looked at yet. */
  const unbound = new Set<string>();
  let lastBusyMs = Number.NEGATIVE_INFINITY;
  const queue = createWorkQueue({
    reconcile: async (key) => {
      // A pool that is not known yet is not one that is missing.
      await caches.synced;
      const outcome = await reconcile(key);
      if (unbound.delete(key)) lastBusyMs = performance.now();
      remember(key, outcome === 'waiting');
    },
    failed: (key, error) => failed(`claim ${key}`, error),
    concurrency: WORKERS,
  });
  const warmQueue = createWarmQueue(caches.sandboxes, wakeWaiting);
  const reconcile = createClaimReconciler({
    client,
    caches,
    warmQueue,
    labelDomains: options.labelDomains ?? DEFAULT_LABEL_DOMAINS,
    events: createEventRecorder(client, 'sandboxclaim-controller', now, failed),
    now,
    again: queue.addAfter,
  });

  function remember(key: string, waits: boolean): void {
    const [namespace = ''] = key.split('/');
    const keys = waiting.get(namespace) ?? new Set<string>();
    if (waits) waiting.set(namespace, keys.add(key));
    else if (keys.delete(key) && keys.size === 0) waiting.delete(namespace);
  }

  function wakeWaiting(namespace = ''): void {
    for (const key of waiting.get(namespace) ?? []) queue.add(key);
  }

  caches.claims.listen((after, before) => {
    const claim = after ?? before;
    if (claim === undefined) return;
    const key = keyOf(claim);
    if (after === undefined) unbound.delete(key);
    else if (before === undefined && after.status?.sandbox?.name === undefined) {
      unbound.add(key);
      lastBusyMs = performance.now();
    }
    if (before === undefined || after === undefined || isNews(before, after)) queue.add(key);
  });
  caches.pools.listen((after, before) => {
    if (after?.metadata.generation !== before?.metadata.generation) wakeWaiting(after?.metadata.namespace);
  });
  caches.templates.listen((after) => wakeWaiting(after?.metadata.namespace));
  caches.sandboxes.listen((after, before) => {
    const [old, current] = [before, after].map((sandbox) => (sandbox === undefined ? undefined : claimKeyOf(sandbox)));
    if (old !== undefined) queue.add(old);
    // A Sandbox that a claim took a moment ago is in the hands of the very pass that took it.
    if (current !== undefined && (old !== undefined || before === undefined)) queue.add(current);
    // A Sandbox that stood in the way of a claim of its name is gone.
    if (after === undefined && before !== undefined && waiting.get(before.metadata.namespace ?? '')?.has(keyOf(before)))
      queue.add(keyOf(before));
  });
  const resync = setInterval(() => {
    for (const claim of caches.claims.values()) queue.add(keyOf(claim));
  }, RESYNC_MS);
  resync.unref();

  return {
    rush: () => {
      if (unbound.size > 0) return 'now';
      return performance.now() - lastBusyMs < LATELY_MS ? 'lately' : 'none';
    },
    close: async () => {
      clearInterval(resync);
      await queue.close();
    },
  };
}

/** Whether a change of a claim is anybody's but this controller's: status and most annotations are written here. */
function isNews({ metadata: before }: SandboxClaim, { metadata: after }: SandboxClaim): boolean {
  const traced = (annotations: Record<string, string> = {}) => annotations[TRACE_CONTEXT_ANNOTATION];
  return (
    before.uid !== after.uid ||
    before.generation !== after.generation ||
    before.deletionTimestamp !== after.deletionTimestamp ||
    !isDeepStrictEqual(before.labels, after.labels) ||
    traced(before.annotations) !== traced(after.annotations)
  );
}

function claimKeyOf(sandbox: Sandbox): string | undefined {
  const owner = controllerOf(sandbox);
  return owner?.kind === 'SandboxClaim' ? `${sandbox.metadata.namespace ?? ''}/${owner.name}` : undefined;
}
