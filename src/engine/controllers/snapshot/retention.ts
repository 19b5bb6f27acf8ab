import { matchesLabels, type PodSnapshot, type PodSnapshotPolicy } from '../../../kubernetes/index.ts';
import { CAUSE_ANNOTATION, newestFirst } from './pod-snapshot.ts';

/** Snapshots taken by suspending that a Sandbox keeps where no policy says how many. */
export const MOST_AUTOMATIC = 3;

/** Whether a policy says how many snapshots with these labels are kept. */
export function isRetainedBy({ metadata, spec }: PodSnapshotPolicy, snapshot: PodSnapshot): boolean {
  return (
    metadata.namespace === snapshot.metadata.namespace &&
    spec.snapshotGroupingRules?.groupRetentionPolicy?.maxSnapshotCountPerGroup !== undefined &&
    matchesLabels(spec.selector ?? {}, snapshot.metadata.labels ?? {})
  );
}

/**
 * Snapshots that are too many: of each group that a policy makes the oldest beyond its count (contract section 4.5), and of what no policy counts the oldest
 * automatic ones. A group is what has the same values of the policy's labels.
 */
export function surplusSnapshots(
  snapshots: readonly PodSnapshot[],
  policies: readonly PodSnapshotPolicy[],
): PodSnapshot[] {
  const sorted = newestFirst(snapshots);
  const surplus = new Set<PodSnapshot>();
  for (const policy of policies) {
    const { groupByLabelValue, groupRetentionPolicy } = policy.spec.snapshotGroupingRules ?? {};
    const selected = sorted.filter((snapshot) => isRetainedBy(policy, snapshot));
    const groups = Map.groupBy(selected, ({ metadata }) =>
      JSON.stringify((groupByLabelValue?.labels ?? []).map((label) => metadata.labels?.[label] ?? null)),
    );
    for (const group of groups.values())
      for (const snapshot of group.slice(groupRetentionPolicy?.maxSnapshotCountPerGroup)) surplus.add(snapshot);
  }
  const uncounted = sorted.filter(
    (snapshot) =>
      snapshot.metadata.annotations?.[CAUSE_ANNOTATION] === 'suspend' &&
      !policies.some((policy) => isRetainedBy(policy, snapshot)),
  );
  for (const group of Map.groupBy(uncounted, ({ metadata }) => metadata.ownerReferences?.[0]?.uid).values())
    for (const snapshot of group.slice(MOST_AUTOMATIC)) surplus.add(snapshot);
  return [...surplus];
}
