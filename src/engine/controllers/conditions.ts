import type { Condition } from '../../kubernetes/index.ts';

/** A condition to be; `lastTransitionTime` is filled in by {@link mergeConditions}. */
export type WantedCondition = Omit<Condition, 'lastTransitionTime'>;

/**
 * The wanted conditions, in their order, each with the time at which its status last flipped (contract section 1.5): kept from before
 * while the status is the same. Earlier conditions whose type is not `owned` are others' and stay, behind ours.
 */
export function mergeConditions(
  before: readonly Condition[] | undefined,
  wanted: readonly WantedCondition[],
  now: Date,
  owned: readonly string[] = before?.map(({ type }) => type) ?? [],
): Condition[] {
  const merged = wanted.map((condition) => {
    const earlier = before?.find(({ type }) => type === condition.type);
    const kept = earlier?.status === condition.status ? earlier.lastTransitionTime : undefined;
    return { ...condition, lastTransitionTime: kept ?? rfc3339(now) };
  });
  const known = new Set([...owned, ...wanted.map(({ type }) => type)]);
  return [...merged, ...(before ?? []).filter(({ type }) => !known.has(type))];
}

/** The condition of that type. */
export function conditionOf(
  object: { status?: { conditions?: Condition[] } | undefined },
  type: string,
): Condition | undefined {
  return object.status?.conditions?.find((condition) => condition.type === type);
}

/** Seconds precision, as metav1.Time has it. */
export function rfc3339(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
