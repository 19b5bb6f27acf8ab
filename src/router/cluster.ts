import { compactHeap } from './compact-heap.ts';
import { startTableFeed } from './feed.ts';
import type { ClusterOptions } from './options.ts';
import { createPodJudge } from './policy/index.ts';
import { startPolicyFeed } from './policy-feed.ts';
import { createSandboxWriter, type SandboxWriter } from './sandbox-writer.ts';
import type { PodRecord, RoutingTable } from './table/index.ts';

/** What answering requests knows of the cluster: the same whether it is followed in this process or in another. */
export interface ClusterView {
  table: RoutingTable;
  writer: SandboxWriter;
  /** Whether the table is complete. */
  isSynced(): boolean;
  /** Whether policy knows what it must to let anybody in. */
  isPolicySynced(): boolean;
  /** Milliseconds since the API server was last heard of. */
  ageMs(): number;
  /** Objects and changes taken in so far. */
  eventCount(): number;
  /** Why a pod is not held to its egress class. */
  unenforcedReason(podUid: string): string | undefined;
  /** Pods that are not held to their class. */
  unenforcedCount(): number;
}

/** A cluster that is followed in this process. */
export interface FollowedCluster extends ClusterView {
  /** Resolves when the table is complete for the first time; rejects if closed before. */
  synced: Promise<void>;
  /** Since when every change is heard of, on the monotonic clock; undefined before. */
  knownSinceMs(): number | undefined;
  close(): void;
}

/** From so many sandboxes on, the first list leaves garbage worth giving back. */
const LARGE_TABLE = 5000;

/** Follows Sandboxes and Pods into `table`, and NetworkPolicies if egress is to be verified. */
export function followCluster(
  options: ClusterOptions & {
    /** Told of each pod in the table whose verdict changed without a change of the pod. */
    rejudged?(pod: PodRecord): void;
  },
  table: RoutingTable,
): FollowedCluster {
  const { client, namespaces, policy, report } = options;
  const followsPolicies = policy.settings().egressVerify !== 'off';
  const judge = createPodJudge({
    policy,
    table,
    followsPolicies,
    unenforced: (namespace, egressClass, reason) =>
      report(`pods of egress class "${egressClass}" in ${namespace} are not held to it`, new Error(reason)),
    ...(options.rejudged === undefined ? {} : { rejudged: options.rejudged }),
  });
  const policies = followsPolicies
    ? startPolicyFeed({ client, judge, namespaces, failed: (error) => report('following NetworkPolicies', error) })
    : undefined;
  const feed = startTableFeed({
    judge,
    client,
    table,
    namespaces,
    sandboxSelector: options.sandboxSelector,
    maxAgeMs: options.maxTableAgeMs,
    failed: (error) => report('following the cluster', error),
  });
  let knownSinceMs: number | undefined;
  feed.synced.then(
    () => {
      knownSinceMs = performance.now();
      table.expectNews(() => performance.now());
      if (table.size() >= LARGE_TABLE) compactHeap();
    },
    () => {},
  );
  return {
    table,
    writer: createSandboxWriter(client, feed.form),
    synced: feed.synced,
    knownSinceMs: () => knownSinceMs,
    isSynced: feed.isSynced,
    isPolicySynced: () => policy.settings().egressVerify !== 'enforce' || policies?.isSynced() === true,
    ageMs: feed.ageMs,
    eventCount: feed.eventCount,
    unenforcedReason: judge.reasonOf,
    unenforcedCount: judge.unenforcedCount,
    close: () => {
      feed.close();
      policies?.close();
    },
  };
}
