import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import type { Container, Probe } from '../../../kubernetes/index.ts';
import { readinessPort } from './container-spec.ts';

/** What a probe needs to reach a container. */
export interface ProbeTarget {
  address: string;
  container: Container;
  exec(command: string[], timeoutMs: number): Promise<number>;
}

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
    if (await succeeds(probe, target)) return;
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
    failures = (await succeeds(probe, target)) ? 0 : failures + 1;
    const now: boolean = failures === 0 || (ready && failures < (probe.failureThreshold ?? 3));
    if (now !== ready && !signal.aborted) {
      ready = now;
      changed(ready);
    }
  }
}

/** One attempt (Kubernetes' rules: 200 to 399 is success for HTTP, an accepted connection for TCP, exit code 0 for exec). */
async function succeeds(probe: Probe, target: ProbeTarget): Promise<boolean> {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  try {
    if (probe.exec !== undefined) return (await target.exec(probe.exec.command, timeoutMs)) === 0;
    const port = portNumber(target.container, probe.httpGet?.port ?? probe.tcpSocket?.port);
    if (probe.httpGet === undefined) return await accepts(target.address, port, timeoutMs);
    const { path = '/', httpHeaders = [], scheme = 'HTTP' } = probe.httpGet;
    const response = await request(
      `${scheme.toLowerCase()}://${target.address}:${port}${path.startsWith('/') ? path : `/${path}`}`,
      {
        headers: Object.fromEntries([['connection', 'close'], ...httpHeaders.map(({ name, value }) => [name, value])]),
        signal: AbortSignal.timeout(timeoutMs),
      },
    );
    await response.body.dump();
    return response.statusCode >= 200 && response.statusCode < 400;
  } catch {
    return false;
  }
}

function portNumber(container: Container, port: number | string | undefined): number {
  if (typeof port === 'number') return port;
  const named = container.ports?.find(({ name }) => name === port)?.containerPort;
  return named ?? Number(port);
}

function accepts(host: string, port: number, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const end = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket
      .on('connect', () => end(true))
      .on('timeout', () => end(false))
      .on('error', () => end(false));
  });
}

function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  return delay(delayMs, undefined, { signal }).catch(() => {});
}
