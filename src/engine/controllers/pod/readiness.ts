import { setTimeout as delay } from 'node:timers/promises';
import type { Probe } from '../../../kubernetes/index.ts';
import { readinessPort } from './container-spec.ts';
import { type ProbeTarget, problemOf } from './probe.ts';

/** First pause between two looks at a container that starts, doubled up to the longest: waking must not wait for a probe period. */
const FIRST_PAUSE_MS = 2;
const LONGEST_PAUSE_MS = 100;

/**
 * Tells of each change of readiness until the signal aborts. Without a readinessProbe, a container is ready once its port accepts (or at once, if it declares
 * none), and stays so. With one, `failureThreshold` failures in a row make it unready again.
 */
export async function followReadiness(
  target: ProbeTarget,
  changed: (ready: boolean) => void,
  signal: AbortSignal,
): Promise<void> {
  const { readinessProbe } = target.container;
  const port = readinessPort(target.container);
  if (readinessProbe === undefined && port === undefined) {
    changed(true);
    return;
  }
  const probe = readinessProbe ?? { tcpSocket: { port: port ?? 0 } };
  await untilFirstSuccess(probe, target, signal);
  if (signal.aborted) return;
  changed(true);
  if (readinessProbe !== undefined) await watchReadiness(readinessProbe, target, changed, signal);
}

async function untilFirstSuccess(probe: Probe, target: ProbeTarget, signal: AbortSignal): Promise<void> {
  let pauseMs = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    if ((await problemOf(probe, target)) === undefined) return;
    await sleep(pauseMs, signal);
    pauseMs = Math.min(pauseMs * 1.5, LONGEST_PAUSE_MS);
  }
}

async function watchReadiness(
  probe: Probe,
  target: ProbeTarget,
  changed: (ready: boolean) => void,
  signal: AbortSignal,
): Promise<void> {
  let ready = true;
  let failures = 0;
  while (!signal.aborted) {
    await sleep((probe.periodSeconds ?? 10) * 1000, signal);
    if (signal.aborted) return;
    failures = (await problemOf(probe, target)) === undefined ? 0 : failures + 1;
    const now: boolean = failures === 0 || (ready && failures < (probe.failureThreshold ?? 3));
    if (now !== ready && !signal.aborted) {
      ready = now;
      changed(ready);
    }
  }
}

/** Ends early, and quietly, when the signal aborts. */
export function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  return delay(delayMs, undefined, { signal }).catch(() => {});
}
