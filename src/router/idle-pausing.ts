import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { type HttpResourceClient, startLeaderElection } from '../kubernetes/index.ts';
import type { FollowedCluster } from './cluster.ts';
import type { IdleOptions } from './options.ts';
import type { Policy } from './policy/index.ts';
import { type ActivityTracker, createIdlePauser } from './wake/index.ts';

/** What pausing idle sandboxes needs. */
export interface IdlePausingOptions {
  idle: IdleOptions;
  client: HttpResourceClient;
  cluster: FollowedCluster;
  policy: Policy;
  activity: ActivityTracker;
  /** Brings `activity` up to date where other processes answer requests. */
  refreshActivity?(): Promise<void>;
  paused(result: 'ok' | 'cancelled' | 'failed'): void;
  report(what: string, error: unknown): void;
}

/** How often activity is looked at. */
const TICK_MS = 1000;

/** Reports what is used, and pauses what is idle if this router is the one chosen for it. */
export function startIdlePausing(options: IdlePausingOptions): { close(): Promise<void> } {
  const { idle, client, cluster, policy, report } = options;
  const election =
    idle.lease === undefined
      ? undefined
      : startLeaderElection({
          client,
          lease: idle.lease,
          identity: `${hostname()}-${randomUUID().slice(0, 8)}`,
          failed: (error) => report('choosing the router that pauses idle sandboxes', error),
        });
  const pauser = createIdlePauser({
    ...idle,
    client,
    writer: cluster.writer,
    table: cluster.table,
    activity: options.activity,
    ...(options.refreshActivity === undefined ? {} : { refreshActivity: options.refreshActivity }),
    defaultTimeoutMsOf: (namespace) => {
      const { tenants } = policy;
      const owner = tenants.isConfigured() ? tenants.ownerOf(namespace) : undefined;
      return owner?.idleTimeoutMs ?? idle.defaultTimeoutMs;
    },
    knownSinceMs: cluster.knownSinceMs,
    isLeader: () => cluster.isSynced() && (election === undefined || election.isLeader()),
    paused: options.paused,
    failed: report,
  });
  const timer = setInterval(pauser.tick, TICK_MS);
  return {
    close: async () => {
      clearInterval(timer);
      await election?.close();
    },
  };
}
