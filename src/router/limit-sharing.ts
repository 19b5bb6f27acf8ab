import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { type HttpResourceClient, type ReplicaCount, startReplicaCount } from '../kubernetes/index.ts';
import type { Policy, RouterShare } from './policy/index.ts';

/** What sharing limits needs. */
export interface LimitSharingOptions {
  client: HttpResourceClient;
  policy: Policy;
  /** Namespace of the Leases; undefined where this router is the only one. */
  replicaNamespace: string | undefined;
  /** Takes this router's part from now on. */
  share(part: RouterShare): void;
  report(what: string, error: unknown): void;
}

/** Limits divided through the live replicas. */
export interface LimitSharing {
  /** How many routers share the limits, this one included. */
  replicas(): number;
  close(): Promise<void>;
}

/** Gives this router its part of the limits, and keeps it in step with the number of routers. Nobody is counted while nobody has limits. */
export function startLimitSharing({
  client,
  policy,
  replicaNamespace,
  share,
  report,
}: LimitSharingOptions): LimitSharing {
  let count: ReplicaCount | undefined;
  let replicas = 1;

  function refresh(): void {
    if (replicaNamespace === undefined || count !== undefined || !policy.tenants.areLimited()) return;
    count = startReplicaCount({
      client,
      namespace: replicaNamespace,
      identity: `${hostname()}-${randomUUID().slice(0, 8)}`,
      changed: (place) => {
        replicas = place.replicas;
        share(place);
      },
      failed: (error) => report('counting the routers that share limits', error),
    });
  }

  policy.onReplaced(refresh);
  refresh();
  return { replicas: () => replicas, close: async () => await count?.close() };
}
