import { PODS, type Pod, type ResourceClient, SANDBOXES, type Sandbox } from '../../../kubernetes/index.ts';
import { createEventRecorder } from '../events.ts';
import { createObjectCache, keyOf } from '../object-cache.ts';
import { createWorkQueue } from '../work-queue.ts';
import { controllerOf } from './ownership.ts';
import { createSandboxReconciler } from './reconcile.ts';

/** What the Sandbox controller needs; it runs against any Kubernetes API. */
export interface SandboxControllerOptions {
  client: ResourceClient;
  /** Whether Pods can be checkpointed here (the engine's own can). */
  snapshots: boolean;
  nodeName?: string;
  /** Said in every Sandbox's status where the runtime does not isolate. */
  notIsolated?: string;
  /** Domain of Services' full names; `cluster.local` by default. */
  clusterDomain?: string;
  now?: () => Date;
  /** How long a suspension waits before its checkpoint, so that requests under way can call it off; 0 by default. */
  drainMs?: number;
  /** Told of failures; the controller tries again by itself. */
  failed(what: string, error: unknown): void;
}

/** A running controller. */
export interface RunningController {
  synced: Promise<void>;
  close(): Promise<void>;
}

/** Every Sandbox is looked at again after this time, whatever was or wasn't heard of it. */
const RESYNC_MS = 10 * 60_000;

/** Sandbox → Pod (contract section 2). */
export function startSandboxController(options: SandboxControllerOptions): RunningController {
  const { client, failed, now = () => new Date() } = options;
  const podsByOwner = new Map<string, Map<string, Pod>>();
  const queue = createWorkQueue({
    reconcile: (key) => {
      const [namespace = '', name = ''] = key.split('/');
      return reconcile({ namespace, name });
    },
    failed: (key, error) => failed(`sandbox ${key}`, error),
  });
  const reconcile = createSandboxReconciler({
    client,
    snapshots: options.snapshots,
    nodeName: options.nodeName,
    notIsolated: options.notIsolated,
    clusterDomain: options.clusterDomain ?? 'cluster.local',
    now,
    drainMs: options.drainMs ?? 0,
    ownedPods: (uid) => [...(podsByOwner.get(uid)?.values() ?? [])],
    again: ({ namespace, name }, delayMs) => queue.addAfter(`${namespace ?? ''}/${name}`, delayMs),
    events: createEventRecorder(client, 'sandbox-controller', now, failed),
  });

  const sandboxes = createObjectCache<Sandbox>(
    client,
    SANDBOXES,
    (after, before) => queue.add(keyOf((after ?? before) as Sandbox)),
    (error) => failed('watching sandboxes', error),
  );
  const pods = createObjectCache<Pod>(
    client,
    PODS,
    (after, before) => {
      for (const [pod, change] of [
        [before, 'gone'],
        [after, 'there'],
      ] as const) {
        const owner = pod === undefined ? undefined : controllerOf(pod);
        if (pod === undefined || owner?.kind !== 'Sandbox') continue;
        const owned = podsByOwner.get(owner.uid) ?? new Map<string, Pod>();
        if (change === 'gone') owned.delete(pod.metadata.uid ?? '');
        else owned.set(pod.metadata.uid ?? '', pod);
        if (owned.size > 0) podsByOwner.set(owner.uid, owned);
        else podsByOwner.delete(owner.uid);
        queue.add(`${pod.metadata.namespace ?? ''}/${owner.name}`);
      }
    },
    (error) => failed('watching pods', error),
  );
  const resync = setInterval(() => {
    for (const sandbox of sandboxes.values()) queue.add(keyOf(sandbox));
  }, RESYNC_MS);
  resync.unref();

  return {
    synced: Promise.all([sandboxes.synced, pods.synced]).then(() => {}),
    close: async () => {
      clearInterval(resync);
      sandboxes.close();
      pods.close();
      await queue.close();
    },
  };
}
