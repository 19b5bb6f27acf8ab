/** The kinds that the engine serves, one file each. To add one: write its {@link Kind} and list it here. */
import { configMap } from './config-map.ts';
import { event } from './event.ts';
import type { Kind } from './kind.ts';
import { lease } from './lease.ts';
import { namespace } from './namespace.ts';
import { networkPolicy } from './network-policy.ts';
import { node } from './node.ts';
import { persistentVolumeClaim } from './persistent-volume-claim.ts';
import { pod } from './pod.ts';
import { podSnapshot, podSnapshotManualTrigger, podSnapshotPolicy, podSnapshotStorageConfig } from './pod-snapshot.ts';
import { runtimeClass } from './runtime-class.ts';
import { gkeSandbox, sandbox } from './sandbox.ts';
import { sandboxClaim } from './sandbox-claim.ts';
import { sandboxTemplate } from './sandbox-template.ts';
import { sandboxWarmPool } from './sandbox-warm-pool.ts';
import { secret } from './secret.ts';
import { service } from './service.ts';

export * from './kind.ts';

/** Every stored kind, in the order of discovery. */
export const KINDS: readonly Kind[] = [
  configMap,
  event,
  namespace,
  node,
  persistentVolumeClaim,
  pod,
  secret,
  service,
  lease,
  networkPolicy,
  runtimeClass,
  sandbox,
  sandboxClaim,
  sandboxTemplate,
  sandboxWarmPool,
  podSnapshot,
  podSnapshotManualTrigger,
  podSnapshotPolicy,
  podSnapshotStorageConfig,
  gkeSandbox,
];
