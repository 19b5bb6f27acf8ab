import type { Container, Pod, PodSpec, RuntimeClass } from '../../kubernetes/index.ts';

/** Processor time in cores and memory in bytes. */
export interface Resources {
  cpuCores: number;
  memoryBytes: number;
}

const FACTORS: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** Value of a Kubernetes quantity: `250m` is 0.25, `1Gi` 2³⁰. Undefined for anything else. */
export function parseQuantity(text: string | undefined): number | undefined {
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([numkMGTPE]|[KMGTPE]i)?$/.exec(text ?? '');
  const factor = FACTORS[match?.[2] ?? ''];
  return match === null || factor === undefined ? undefined : Number(match[1]) * factor;
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
