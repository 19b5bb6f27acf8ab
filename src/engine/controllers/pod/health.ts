import type { Probe } from '../../../kubernetes/index.ts';
import { type ProbeTarget, problemOf } from './probe.ts';
import { followReadiness, sleep } from './readiness.ts';

/** Which probe speaks. */
export type DeadlyProbe = 'startup' | 'liveness';

/** Who is told of a container's health. */
export interface HealthListener {
  /** It passed its startup probe, or has none. */
  started(): void;
  ready(ready: boolean): void;
  /** One attempt failed. */
  unhealthy(which: DeadlyProbe, problem: string): void;
  /** So many failed in a row that the container is to be ended; nothing is told after this. */
  dead(which: DeadlyProbe, probe: Probe): void;
}

/** First and longest pause between two looks at a container that starts: a wake must not wait for a period, and commands are dear. */
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 1000;

/** Follows startup, readiness and liveness of a container until the signal aborts, as a kubelet does: the other two begin once it has started. */
export async function followHealth(target: ProbeTarget, listener: HealthListener, signal: AbortSignal): Promise<void> {
  const { startupProbe, livenessProbe } = target.container;
  if (startupProbe !== undefined && !(await hasStarted(startupProbe, target, listener, signal))) return;
  if (signal.aborted) return;
  listener.started();
  await Promise.all([
    followReadiness(target, (ready) => listener.ready(ready), signal),
    ...(livenessProbe === undefined ? [] : [watchLiveness(livenessProbe, target, listener, signal)]),
  ]);
}

/** Looks more often than the probe says, but counts failures by its periods. */
async function hasStarted(
  probe: Probe,
  target: ProbeTarget,
  listener: HealthListener,
  signal: AbortSignal,
): Promise<boolean> {
  const periodMs = (probe.periodSeconds ?? 10) * 1000;
  const startedAt = performance.now() + (probe.initialDelaySeconds ?? 0) * 1000;
  let failures = 0;
  let pauseMs = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    const problem = await problemOf(probe, target);
    if (problem === undefined) return true;
    const due = Math.floor((performance.now() - startedAt) / periodMs);
    if (due > failures && !signal.aborted) {
      failures = due;
      listener.unhealthy('startup', problem);
      if (failures >= (probe.failureThreshold ?? 3)) {
        listener.dead('startup', probe);
        return false;
      }
    }
    await sleep(pauseMs, signal);
    pauseMs = Math.min(pauseMs * 1.5, LONGEST_PAUSE_MS);
  }
  return false;
}

async function watchLiveness(
  probe: Probe,
  target: ProbeTarget,
  listener: HealthListener,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0;
  await sleep((probe.initialDelaySeconds ?? 0) * 1000, signal);
  while (!signal.aborted) {
    await sleep((probe.periodSeconds ?? 10) * 1000, signal);
    if (signal.aborted) return;
    const problem = await problemOf(probe, target);
    if (signal.aborted) return;
    failures = problem === undefined ? 0 : failures + 1;
    if (problem !== undefined) listener.unhealthy('liveness', problem);
    if (failures >= (probe.failureThreshold ?? 3)) {
      listener.dead('liveness', probe);
      return;
    }
  }
}
