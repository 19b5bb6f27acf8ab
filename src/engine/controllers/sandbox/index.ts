import { PODS, type Pod, type ResourceClient, SANDBOXES, type Sandbox } from '../../../kubernetes/index.ts';
import { createObjectCache, keyOf } from '../object-cache.ts';
import { createWorkQueue } from '../work-queue.ts';
import { createSandboxReconciler } from './reconcile.ts';

/** What the Sandbox controller needs; it runs against any Kubernetes API. */
export interface SandboxControllerOptions {
  client: ResourceClient;
  /** Whether Pods can be checkpointed here (the engine's own can). */
  snapshots: boolean;
  nodeName?: string;
  now?: () => Date;
  /** Told of failures; the controller tries again by itself. */
  failed(what: string, error: unknown): void;
}

/** A running controller. */
export interface RunningController {
  synced: Promise<void>;
  close(): Promise<void>;
}

/** Sandbox → Pod (contract section 2). */
export function startSandboxController(options: SandboxControllerOptions): RunningController {
  const podsByOwner = new Map<string, Map<string, Pod>>();
  const queue = createWorkQueue({
    reconcile: (key) => {
      const [namespace = '', name = ''] = key.split('/');
      return reconcile({ namespace, name });
    },
    failed: (key, error) => options.failed(`sandbox ${key}`, error),
  });
  const reconcile = createSandboxReconciler({
    client: options.client,
    snapshots: options.snapshots,
    nodeName: options.nodeName,
    now: options.now ?? (() => new Date()),
    ownedPods: (uid) => [...(podsByOwner.get(uid)?.values() ?? [])],
    again: ({ namespace, name }, delayMs) => queue.addAfter(`${namespace ?? ''}/${name}`, delayMs),
  });

  const sandboxes = createObjectCache<Sandbox>(
    options.client,
    SANDBOXES,
    (after, before) => queue.add(keyOf((after ?? before) as Sandbox)),
    (error) => options.failed('watching sandboxes', error),
  );
  const pods = createObjectCache<Pod>(
    options.client,
    PODS,
    (after, before) => {
      const pod = (after ?? before) as Pod;
      const owner = pod.metadata.ownerReferences?.find(
        ({ controller, kind }) => controller === true && kind === 'Sandbox',
      );
      if (owner === undefined) return;
      const owned = podsByOwner.get(owner.uid) ?? new Map<string, Pod>();
      if (before !== undefined) owned.delete(before.metadata.uid ?? '');
      if (after !== undefined) owned.set(after.metadata.uid ?? '', after);
      if (owned.size > 0) podsByOwner.set(owner.uid, owned);
      else podsByOwner.delete(owner.uid);
      queue.add(`${pod.metadata.namespace ?? ''}/${owner.name}`);
    },
    (error) => options.failed('watching pods', error),
  );

  return {
    synced: Promise.all([sandboxes.synced, pods.synced]).then(() => {}),
    close: async () => {
      sandboxes.close();
      pods.close();
      await queue.close();
    },
  };
}
