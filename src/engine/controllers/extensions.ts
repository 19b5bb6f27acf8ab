import type { ResourceClient } from '../../kubernetes/index.ts';
import { startClaimController } from './claim/index.ts';
import { createExtensionCaches } from './extension-caches.ts';
import type { RunningController } from './sandbox/index.ts';
import { startTemplateController } from './template/index.ts';
import { startTemplateSnapshotController, type TemplateSnapshotSupport } from './template-snapshot/index.ts';
import { startPoolController } from './warm-pool/index.ts';

/** What the controllers of claims, pools and templates need; they run against any Kubernetes API. */
export interface ExtensionControllersOptions {
  client: ResourceClient;
  /** Domains whose labels claims may set; `sandbox.users.io` by default. */
  labelDomains?: readonly string[];
  /** Where Pods can be copied: pools of templates that ask for it are filled with copies of one snapshot. */
  templateSnapshots?: TemplateSnapshotSupport;
  now?: () => Date;
  /** Told of failures; the controllers try again by themselves. */
  failed(what: string, error: unknown): void;
}

/** Members that a pool gets in one go while claims come: the rest of the machine is for the claims. */
const TRICKLE = 2;

/**
 * How many of its missing members a pool gets at once. A new member costs far more than a claim does: while claims wait, a pool that still has
 * some to give is not refilled; between claims, and when it runs low, it is refilled slowly.
 */
export function refillSize(
  rush: 'now' | 'lately' | 'none',
  missing: number,
  members: number,
  replicas: number,
): number {
  if (rush === 'none') return missing;
  if (rush === 'now' && members * 8 > replicas) return 0;
  return Math.min(missing, TRICKLE);
}

/** Starts what turns SandboxTemplates, SandboxWarmPools and SandboxClaims into Sandboxes. */
export function startExtensionControllers(options: ExtensionControllersOptions): RunningController {
  const { now = () => new Date() } = options;
  const caches = createExtensionCaches(options.client, options.failed);
  const shared = { ...options, caches, now };
  const templates = startTemplateController(shared);
  const claims = startClaimController(shared);
  const templateSnapshots =
    options.templateSnapshots === undefined
      ? undefined
      : startTemplateSnapshotController({ ...shared, ...options.templateSnapshots });
  const pools = startPoolController({
    ...shared,
    templateSnapshots,
    refillNow: (pool, missing, members) => refillSize(claims.rush(), missing, members, pool.spec.replicas ?? 1),
  });
  return {
    synced: caches.synced,
    close: async () => {
      caches.close();
      await Promise.all([templates.close(), claims.close(), pools.close(), templateSnapshots?.close()]);
    },
  };
}
