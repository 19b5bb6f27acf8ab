import { type Container, LIMITS_ENFORCED_CONDITION, type Pod } from '../../../kubernetes/index.ts';
import type { ContainerRuntime, ResourceLimits } from '../../runtime/index.ts';
import type { WantedCondition } from '../conditions.ts';
import { quantityValue } from './quantity.ts';
import type { PodRefusedError } from './refusals.ts';

type Bounded = 'memory' | 'cpu';

/**
 * What the containers of a Pod may take together, as a kubelet has it for the cgroup of a Pod (k8s.io/component-helpers, PodLimits): the sum over containers and
 * sidecars, or what an init container needs if that is more; no bound where one container has none. Undefined for a Pod without limits.
 * @throws PodRefusedError for an amount that can't be read
 */
export function limitsOf(pod: Pod): ResourceLimits | undefined {
  const memory = amountOf(pod, 'memory');
  const cpu = amountOf(pod, 'cpu');
  if (!(memory > 0) && !(cpu > 0)) return undefined;
  return {
    ...(memory > 0 ? { memoryBytes: Math.ceil(memory) } : {}),
    ...(cpu > 0 ? { cpuMillicores: Math.ceil(cpu * 1000) } : {}),
  };
}

/** Said where it would be believed otherwise: whether the limits of a Pod are kept. Undefined for a Pod without any. */
export function limitsCondition(pod: Pod, problems: ContainerRuntime['limitProblems']): WantedCondition | undefined {
  const named = new Set(
    [pod.spec.resources, ...allContainers(pod).map(({ resources }) => resources)].flatMap((resources) =>
      Object.keys(resources?.limits ?? {}),
    ),
  );
  if (named.size === 0) return undefined;
  try {
    return kept(pod, named, problems);
  } catch (error) {
    // It does not run; why not, its container says as well.
    const { message } = error as PodRefusedError;
    return { type: LIMITS_ENFORCED_CONDITION, status: 'False', reason: 'InvalidQuantity', message };
  }
}

/** @throws PodRefusedError for an amount that can't be read */
function kept(pod: Pod, named: ReadonlySet<string>, problems: ContainerRuntime['limitProblems']): WantedCondition {
  const unkept = [...named].flatMap((name) => {
    if (name !== 'memory' && name !== 'cpu')
      return [{ reason: 'NotSupported', message: `${name}: the engine does not know it` }];
    if (problems[name] !== undefined) return [{ reason: 'NoCgroups', message: `${name}: ${problems[name]}` }];
    const missing =
      podLimit(pod, name) === undefined ? pod.spec.containers.find((each) => limit(each, name) === 0) : undefined;
    if (missing === undefined) return [];
    const message = `${name}: limits are kept for the Pod as a whole, and container ${missing.name} has none`;
    return [{ reason: 'NotOfAllContainers', message }];
  });
  const [first] = unkept;
  if (first === undefined)
    return {
      type: LIMITS_ENFORCED_CONDITION,
      status: 'True',
      reason: 'Cgroups',
      message: 'resources.limits are kept for the Pod as a whole',
    };
  const message = `resources.limits are not enforced: ${unkept.map((each) => each.message).join('; ')}`;
  return { type: LIMITS_ENFORCED_CONDITION, status: 'False', reason: first.reason, message };
}

/** 0 for no bound. */
function amountOf(pod: Pod, name: Bounded): number {
  const ofPod = podLimit(pod, name);
  if (ofPod !== undefined) return ofPod;
  const amounts = pod.spec.containers.map((container) => limit(container, name));
  if (amounts.includes(0)) return 0;
  let sidecars = 0;
  let most = 0;
  for (const container of pod.spec.initContainers ?? []) {
    const own = limit(container, name);
    if (container.restartPolicy === 'Always') sidecars += own;
    most = Math.max(most, container.restartPolicy === 'Always' ? sidecars : sidecars + own);
  }
  return Math.max(
    most,
    amounts.reduce((sum, amount) => sum + amount, sidecars),
  );
}

function podLimit({ spec }: Pod, name: Bounded): number | undefined {
  const amount = spec.resources?.limits?.[name];
  return amount === undefined ? undefined : quantityValue(String(amount));
}

function limit({ resources }: Container, name: Bounded): number {
  const amount = resources?.limits?.[name];
  return amount === undefined ? 0 : quantityValue(String(amount));
}

function allContainers({ spec }: Pod): Container[] {
  return [...spec.containers, ...(spec.initContainers ?? [])];
}
