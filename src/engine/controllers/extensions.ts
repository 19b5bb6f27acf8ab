import type { ResourceClient } from '../../kubernetes/index.ts';
import { startClaimController } from './claim/index.ts';
import { createExtensionCaches } from './extension-caches.ts';
import type { RunningController } from './sandbox/index.ts';
import { startTemplateController } from './template/index.ts';
import { startPoolController } from './warm-pool/index.ts';

/** What the controllers of claims, pools and templates need; they run against any Kubernetes API. */
export interface ExtensionControllersOptions {
  client: ResourceClient;
  /** Domains whose labels claims may set; `sandbox.users.io` by default. */
  labelDomains?: readonly string[];
  now?: () => Date;
  /** Told of failures; the controllers try again by themselves. */
  failed(what: string, error: unknown): void;
}

/** Starts what turns SandboxTemplates, SandboxWarmPools and SandboxClaims into Sandboxes. */
export function startExtensionControllers(options: ExtensionControllersOptions): RunningController {
  const { now = () => new Date() } = options;
  const caches = createExtensionCaches(options.client, options.failed);
  const shared = { ...options, caches, now };
  const templates = startTemplateController(shared);
  const claims = startClaimController(shared);
  const pools = startPoolController({ ...shared, refillNow: (_pool, missing) => missing });
  return {
    synced: caches.synced,
    close: async () => {
      caches.close();
      await Promise.all([templates.close(), claims.close(), pools.close()]);
    },
  };
}
