import type { Condition } from '../../kubernetes/index.ts';

/** A condition to be; `lastTransitionTime` is filled in by {@link mergeConditions}. */
export type WantedCondition = Omit<Condition, 'lastTransitionTime'>;

/**
 * The wanted conditions, in their order, each with the time at which its status last flipped (contract section 1.5): kept from before while the status is the
 * same.
 */
export function mergeConditions(
  before: readonly Condition[] | undefined,
  wanted: readonly WantedCondition[],
  now: Date,
): Condition[] {
  return wanted.map((condition) => {
    const earlier = before?.find(({ type }) => type === condition.type);
    const kept = earlier?.status === condition.status ? earlier.lastTransitionTime : undefined;
    return { ...condition, lastTransitionTime: kept ?? rfc3339(now) };
  });
}

/** Seconds precision, as metav1.Time has it. */
export function rfc3339(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
