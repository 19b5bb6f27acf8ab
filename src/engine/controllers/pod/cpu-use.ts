import { parseMillicores } from '../../../config/index.ts';
import {
  CPU_ACTIVE_ANNOTATION,
  IDLE_CPU_FLOOR_ANNOTATION,
  isApiError,
  PODS,
  type Pod,
  type ResourceClient,
  type Sandbox,
} from '../../../kubernetes/index.ts';
import type { ContainerRuntime } from '../../runtime/index.ts';

/** What following the CPU use of Pods needs. */
export interface CpuUseOptions {
  client: ResourceClient;
  runtime: Pick<ContainerRuntime, 'cpuMs'>;
  /** Pods that run here, with the Sandbox of each. */
  running(): Iterable<{ pod: Pod; sandbox: Sandbox | undefined; containerId: string }>;
  /** Where a Sandbox has no floor of its own; 0 for none. */
  defaultFloorMillicores: number;
  now(): Date;
  failed(what: string, error: unknown): void;
  intervalMs?: number;
}

/** How often CPU use is looked at: an average over this time counts. */
const INTERVAL_MS = 10_000;

/** Writes to the Pods of Sandboxes with a floor when they used more CPU than that; those without one cost nothing. Returns what ends it. */
export function followCpuUse(options: CpuUseOptions): () => void {
  const { client, runtime, running, now, failed, intervalMs = INTERVAL_MS } = options;
  const before = new Map<string, { cpuMs: number; atMs: number }>();

  function look(): void {
    const floors = [...running()].flatMap((entry) => {
      const floor = floorOf(entry.sandbox, options.defaultFloorMillicores);
      return floor > 0 ? [{ ...entry, floor }] : [];
    });
    const used = floors.length === 0 ? [] : runtime.cpuMs(floors.map(({ containerId }) => containerId));
    const atMs = performance.now();
    const seen = new Set<string>();
    for (const [index, { pod, containerId, floor }] of floors.entries()) {
      const cpuMs = used[index];
      if (cpuMs === undefined) continue;
      seen.add(containerId);
      const last = before.get(containerId);
      before.set(containerId, { cpuMs, atMs });
      if (last === undefined) continue;
      const millicores = (1000 * (cpuMs - last.cpuMs)) / (atMs - last.atMs);
      if (millicores >= floor) write(pod).catch((error) => failed(`CPU use of ${pod.metadata.name}`, error));
    }
    for (const id of before.keys()) if (!seen.has(id)) before.delete(id);
  }

  async function write({ metadata }: Pod): Promise<void> {
    const annotations = { [CPU_ACTIVE_ANNOTATION]: now().toISOString() };
    await client
      .patch(PODS, metadata, { metadata: { uid: metadata.uid, annotations } }, { type: 'merge' })
      .catch((error) => {
        if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) throw error;
      });
  }

  const timer = setInterval(() => {
    try {
      look();
    } catch (error) {
      failed('CPU use of sandboxes', error);
    }
  }, intervalMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** What can't be read is no floor. */
function floorOf(sandbox: Sandbox | undefined, defaultMillicores: number): number {
  const annotated = sandbox?.metadata.annotations?.[IDLE_CPU_FLOOR_ANNOTATION];
  if (annotated === undefined) return sandbox === undefined ? 0 : defaultMillicores;
  try {
    return parseMillicores(annotated);
  } catch {
    return 0;
  }
}
