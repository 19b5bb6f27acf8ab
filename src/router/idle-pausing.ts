import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { type HttpResourceClient, startLeaderElection } from '../kubernetes/index.ts';
import type { FollowedCluster } from './cluster.ts';
import type { Ledger, Transitions, Uses } from './ledger/index.ts';
import type { IdleOptions } from './options.ts';
import type { Policy } from './policy/index.ts';
import type { Route } from './table/index.ts';
import { type ActivityTracker, createCpuUsage, createIdlePauser } from './wake/index.ts';

/** What pausing idle sandboxes needs. */
export interface IdlePausingOptions {
  idle: IdleOptions;
  client: HttpResourceClient;
  cluster: FollowedCluster;
  policy: Policy;
  activity: ActivityTracker;
  /** All if empty. */
  namespaces: readonly string[];
  uses: Uses;
  ledger: Ledger;
  transitions: Transitions;
  /** Brings `activity` up to date where other processes answer requests. */
  refreshActivity?(): Promise<void>;
  paused(result: 'ok' | 'cancelled' | 'failed'): void;
  report(what: string, error: unknown): void;
}

/** How often activity is looked at. */
const TICK_MS = 1000;

/** Idle timeouts of sandboxes by annotation, tenant or router, in milliseconds; 0 for never. */
export function idleTimeouts(policy: Policy, idle: Pick<IdleOptions, 'defaultTimeoutMs'>): (route: Route) => number {
  return ({ sandbox }) => {
    if (sandbox.idleTimeoutMs !== undefined) return sandbox.idleTimeoutMs;
    const { tenants } = policy;
    const owner = tenants.isConfigured() ? tenants.ownerOf(sandbox.namespace) : undefined;
    return owner?.idleTimeoutMs ?? idle.defaultTimeoutMs;
  };
}

/** Reports what is used, and pauses what is idle if this router is the one chosen for it. */
export function startIdlePausing(options: IdlePausingOptions): { close(): Promise<void> } {
  const { idle, client, cluster, policy, report, ledger, transitions } = options;
  const election =
    idle.lease === undefined
      ? undefined
      : startLeaderElection({
          client,
          lease: idle.lease,
          identity: `${hostname()}-${randomUUID().slice(0, 8)}`,
          failed: (error) => report('choosing the router that pauses idle sandboxes', error),
        });
  const cpuFloorMillicoresOf = ({ sandbox }: Route) => sandbox.cpuFloorMillicores ?? idle.cpuFloorMillicores;
  const cpuUsage = createCpuUsage({
    read: client.read,
    table: cluster.table,
    namespaces: options.namespaces,
    floorMillicoresOf: cpuFloorMillicoresOf,
    failed: report,
  });
  const pauser = createIdlePauser({
    ...idle,
    client,
    writer: cluster.writer,
    table: cluster.table,
    activity: options.activity,
    ...(options.refreshActivity === undefined ? {} : { refreshActivity: options.refreshActivity }),
    idleTimeoutMsOf: idleTimeouts(policy, idle),
    transitions,
    ledger,
    uses: options.uses,
    cpuFloorMillicoresOf,
    // An engine says it itself, by an annotation.
    ...(idle.reportIntervalMs === 0 ? {} : { askCpuUsage: cpuUsage.ask }),
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
