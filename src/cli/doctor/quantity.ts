import { type Container, type Pod, type PodSpec, parseQuantity, type RuntimeClass } from '../../kubernetes/index.ts';

/** Processor time in cores and memory in bytes. */
export interface Resources {
  cpuCores: number;
  memoryBytes: number;
}

/** What the scheduler sets aside for a pod: its containers and sidecars together, or one init container if that asks for more, and the runtime's own need. */
export function requestsOf(spec: PodSpec, runtimeClass: RuntimeClass | undefined): Resources {
  const initial = spec.initContainers ?? [];
  const sidecars = initial.filter(({ restartPolicy }) => restartPolicy === 'Always');
  const steps = initial.filter(({ restartPolicy }) => restartPolicy !== 'Always');
  const together = sumResources([...spec.containers, ...sidecars].map(requestOf));
  const largest = steps.map(requestOf).reduce(
    (most, step) => ({
      cpuCores: Math.max(most.cpuCores, step.cpuCores),
      memoryBytes: Math.max(most.memoryBytes, step.memoryBytes),
    }),
    together,
  );
  return add(largest, resourcesOf(runtimeClass?.overhead?.podFixed));
}

/** Requests of several pods together. */
export function sumRequests(pods: readonly Pod[], runtimeClass: RuntimeClass | undefined): Resources {
  return sumResources(pods.map(({ spec }) => requestsOf(spec, runtimeClass)));
}

/** All together. */
export function sumResources(parts: readonly Resources[]): Resources {
  return parts.reduce(add, { cpuCores: 0, memoryBytes: 0 });
}

/** `cpu` and `memory` of a list of quantities; 0 where absent. */
export function resourcesOf(quantities: Readonly<Record<string, string>> | undefined): Resources {
  return {
    cpuCores: parseQuantity(quantities?.cpu) ?? 0,
    memoryBytes: parseQuantity(quantities?.memory) ?? 0,
  };
}

/** `1.5 CPU and 3 GiB`. */
export function describeResources({ cpuCores, memoryBytes }: Resources): string {
  const [amount, unit] = memoryBytes >= 2 ** 30 ? [memoryBytes / 2 ** 30, 'GiB'] : [memoryBytes / 2 ** 20, 'MiB'];
  return `${round(cpuCores)} CPU and ${round(amount)} ${unit}`;
}

/** A limit without a request is the request. */
function requestOf({ resources }: Container): Resources {
  return resourcesOf({ ...resources?.limits, ...resources?.requests });
}

function add(left: Resources, right: Resources): Resources {
  return { cpuCores: left.cpuCores + right.cpuCores, memoryBytes: left.memoryBytes + right.memoryBytes };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
