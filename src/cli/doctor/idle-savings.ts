import { IDLE_TIMEOUT_ANNOTATION, type Pod, type RuntimeClass, WARM_POOL_LABEL } from '../../kubernetes/index.ts';
import type { Facts } from './facts.ts';
import { count } from './finding.ts';
import { describeResources, sumRequests } from './quantity.ts';
import { controllerOf, livePods } from './subjects.ts';

/** What running sandboxes hold, and how much of it idle pausing would free. Members of warm pools are there to wait, so they don't count. */
export function describeIdleSavings(facts: Facts, runtimeClass: RuntimeClass | undefined): string {
  const timeouts = new Map(
    facts.lists.sandboxes.items.map(({ metadata }) => [metadata.uid, metadata.annotations?.[IDLE_TIMEOUT_ANNOTATION]]),
  );
  const timeoutOf = (pod: Pod) => timeouts.get(controllerOf(pod)?.uid) ?? 'never';
  const running = livePods(facts).filter(({ metadata }) => metadata.labels?.[WARM_POOL_LABEL] === undefined);
  const sleepless = running.filter((pod) => timeoutOf(pod) === 'never');
  const held = describeResources(sumRequests(running, runtimeClass));
  const sandboxes = count(running.length, 'running sandbox', 'running sandboxes');
  if (sleepless.length === 0) return `${sandboxes} outside pools hold ${held}, and all pause when idle.`;
  const freed = describeResources(sumRequests(sleepless, runtimeClass));
  return `${sandboxes} outside pools hold ${held}; idle pausing would free up to ${freed} of ${sleepless.length} without ${IDLE_TIMEOUT_ANNOTATION}.`;
}
