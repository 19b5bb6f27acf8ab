import { isApiError } from '../../../kubernetes/index.ts';
import type { Route, RoutingTable } from '../../table/index.ts';

/** What asking the metrics API for CPU use needs. */
export interface CpuUsageOptions {
  /** GET of a path of the API. */
  read<Result>(path: string): Promise<Result>;
  table: Pick<RoutingTable, 'find'>;
  /** All if empty. */
  namespaces: readonly string[];
  /** Thousandths of a CPU from which on its use counts; 0 for none. */
  floorMillicoresOf(route: Route): number;
  failed(what: string, error: unknown): void;
}

/** metrics.k8s.io/v1beta1 PodMetrics, as far as it is read. */
interface PodMetrics {
  metadata: { name: string; namespace?: string };
  containers?: { usage?: { cpu?: string } }[];
}

/** The metrics API has news every 15 s at most; where there is none it is asked for seldom. */
const INTERVAL_MS = 15_000;
const NOT_SERVED_MS = 600_000;
const SANDBOX_PODS = `labelSelector=${encodeURIComponent('agents.x-k8s.io/sandbox-name-hash')}`;
const PER_MILLICORE: Readonly<Record<string, number>> = { n: 1_000_000, u: 1000, m: 1, '': 0.001 };

/** Notes which sandboxes use more CPU than their floor, by metrics.k8s.io. `ask` is called when some sandbox has a floor, and asks when there may be news. */
export function createCpuUsage({ read, table, namespaces, floorMillicoresOf, failed }: CpuUsageOptions) {
  let nextMs = 0;
  let asking = false;

  async function askNow(): Promise<void> {
    const scopes = namespaces.length === 0 ? [''] : namespaces.map((name) => `/namespaces/${name}`);
    for (const scope of scopes) {
      const { items } = await read<{ items?: PodMetrics[] }>(
        `/apis/metrics.k8s.io/v1beta1${scope}/pods?${SANDBOX_PODS}`,
      );
      for (const item of items ?? []) note(item);
    }
  }

  function note({ metadata: { name, namespace = '' }, containers = [] }: PodMetrics): void {
    const route = table.find(namespace, name);
    if (route === undefined || route.sandbox.podName !== name) return;
    const floor = floorMillicoresOf(route);
    const used = containers.reduce((sum, { usage }) => sum + millicoresOf(usage?.cpu), 0);
    if (floor > 0 && used >= floor) route.activity.cpuMs = performance.now();
  }

  return {
    ask: (): void => {
      const nowMs = performance.now();
      if (asking || nowMs < nextMs) return;
      asking = true;
      nextMs = nowMs + INTERVAL_MS;
      askNow()
        .catch((error) => {
          nextMs = performance.now() + NOT_SERVED_MS;
          if (!isApiError(error, 'NotFound')) failed('asking metrics.k8s.io for CPU use', error);
        })
        .finally(() => {
          asking = false;
        });
    },
  };
}

/** Thousandths of a CPU of a quantity as the metrics API writes it: `123456n`, `250m`. */
export function millicoresOf(quantity: string | undefined): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([num]?)$/.exec(quantity ?? '') ?? [];
  return number === undefined ? 0 : Number(number) / (PER_MILLICORE[unit] as number);
}
