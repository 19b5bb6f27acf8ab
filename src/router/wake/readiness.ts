import { connect } from 'node:net';
import type { ProblemCode } from '../problem.ts';
import type { PodRecord, Route, RoutingTable } from '../table/index.ts';
import type { PhaseClock } from './phases.ts';

/** A pod that may be sent requests, or why there is none. */
export type Readiness = { pod: PodRecord } | WakeFailure;

/** Why a wake did not end well. */
export interface WakeFailure {
  code: ProblemCode;
  detail: string;
  retryAfterSeconds?: number;
  /** It was paused meanwhile, and may be woken once more. */
  pausedAgain?: true;
}

/** What a wake waits for. */
export interface Awaited {
  namespace: string;
  name: string;
  /** Generation from which on the Sandbox is to run. */
  generation: number;
  /** Whether the API was asked for it; else it runs without, and only its pod is not there yet. */
  asked: boolean;
  /** UID of the pod that was there before. */
  podBefore: string | undefined;
  phases: PhaseClock;
  /** Aborted with the {@link WakeFailure} that it ends with. */
  signal: AbortSignal;
}

/** Waits by the table alone. */
export interface ReadinessWatch {
  untilReady(awaited: Awaited): Promise<Readiness>;
  close(): void;
}

const CONNECT_TIMEOUT_MS = 2000;

/** Tells the waits of one sandbox apart from all others', so that a change concerns nobody else. */
export function createReadinessWatch(table: RoutingTable): ReadinessWatch {
  const watchers = new Map<string, Set<() => void>>();
  const close = table.onChange((namespace, name) => {
    for (const notify of watchers.get(`${namespace}/${name}`) ?? []) notify();
  });
  return {
    close,
    untilReady: (awaited) =>
      new Promise((resolve) => {
        const { namespace, name, signal } = awaited;
        const key = `${namespace}/${name}`;
        const notify = () => {
          const outcome = signal.aborted ? (signal.reason as WakeFailure) : judge(table, awaited);
          if (outcome === undefined) return;
          const set = watchers.get(key);
          set?.delete(notify);
          if (set?.size === 0) watchers.delete(key);
          signal.removeEventListener('abort', notify);
          resolve(outcome);
        };
        const set = watchers.get(key) ?? new Set();
        watchers.set(key, set.add(notify));
        signal.addEventListener('abort', notify);
        notify();
      }),
  };
}

/** What nobody reads: the wait was given up. */
export const NOBODY_WAITS: WakeFailure = { code: 'waking', detail: 'Nobody waits any more.' };
/** A wake that takes longer than any may. */
export const NOT_IN_TIME: WakeFailure = { code: 'waking', detail: 'It was not ready in time.' };

/**
 * What the table says of a wake now; undefined while there is nothing to do but wait. A pod that was there before the wake may be one that is being
 * paused: only the Sandbox's own word makes it good again. A new one is good as soon as it is Ready.
 */
function judge(
  table: RoutingTable,
  { namespace, name, generation, asked, podBefore, phases }: Awaited,
): Readiness | undefined {
  const route = table.find(namespace, name);
  if (route === undefined) return { code: 'sandbox_not_found', detail: `${name} was deleted.` };
  const { sandbox, pod } = route;
  if (sandbox.generation < generation) return undefined;
  if (sandbox.finished)
    return { code: 'sandbox_finished', detail: `${name} has ended for good (${sandbox.readyReason}).` };
  if (!sandbox.running)
    return { code: 'waking', detail: `${name} was paused again.`, retryAfterSeconds: 1, pausedAgain: true };
  // A pod often comes with the word of its start before the Sandbox tells of it.
  if (pod !== undefined && pod.uid !== podBefore && !pod.terminating)
    phases.end(pod.address === '' ? 'schedule' : 'restore');
  // Who came only now would be sent to its pod at once: who waits has no longer way.
  if (!asked && sandbox.draining === '' && pod !== undefined && table.isRoutable(route)) {
    phases.end('ready');
    return { pod };
  }
  if (sandbox.readyGeneration < generation) return undefined;
  if (sandbox.readyReason === 'SnapshotRestoreFailed')
    return { code: 'wake_failed', detail: `${name} could not be restored: ${sandbox.readyMessage}` };
  if (sandbox.readyReason === 'ReconcilerError')
    return { code: 'wake_failed', detail: `${name} could not be woken: ${sandbox.readyMessage}` };
  // Somebody is about to pause it, and has not heard yet that it is used.
  if (sandbox.draining !== '') return undefined;
  if (pod === undefined || !table.isRoutable(route)) return undefined;
  if (!sandbox.ready && pod.uid === podBefore) return undefined;
  phases.end('ready');
  return { pod };
}

/** `; it says: …`, where a sandbox says why it is not ready. */
export function whyNotReady(route: Route | undefined): string {
  return route === undefined || route.sandbox.readyMessage === '' ? '' : `; it says: ${route.sandbox.readyMessage}`;
}

/** Waits until the port accepts: at once after a restore, a moment later after a start. False when the pod changed or refused for long. */
export async function untilAccepting(
  pod: PodRecord,
  port: number,
  accepts: (host: string, port: number) => Promise<boolean>,
  signal: AbortSignal,
  isCurrent: () => boolean,
): Promise<boolean> {
  const deadlineMs = performance.now() + CONNECT_TIMEOUT_MS;
  let pauseMs = 1;
  while (!signal.aborted && isCurrent()) {
    if (await accepts(pod.address, port)) return true;
    if (performance.now() > deadlineMs) return false;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    pauseMs = Math.min(100, pauseMs * 2);
  }
  return false;
}

/** One attempt to connect. */
export function acceptsConnections(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: CONNECT_TIMEOUT_MS });
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
