import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { ApiError, isApiError } from '../../kubernetes/index.ts';
import type { Problem, ProblemCode } from '../problem.ts';
import type { SandboxWriter } from '../sandbox-writer.ts';
import type { PodRecord, Route, RoutingTable } from '../table/index.ts';
import { createWakeTimes } from './wake-times.ts';

/** Bounds of holding requests. */
export interface WakeLimits {
  holdTimeoutMs: number;
  heldPerSandbox: number;
  heldTotal: number;
}

/** What waking needs. */
export interface WakerOptions {
  writer: SandboxWriter;
  table: RoutingTable;
  limits: WakeLimits;
  /** Told how each wake ended. */
  finished(result: 'ok' | 'failed', durationMs: number): void;
}

/** One request that wants its sandbox. */
export interface WakeRequest {
  route: Route;
  /** Port that must accept before the request goes on. */
  port: number;
  /** Whether the caller may start a paused sandbox; waiting for a running one needs no scope. */
  mayWake: boolean;
  /** Asked before a wake is begun for this caller, not before it joins one; what it answers is why not. */
  beginning?(): Problem | undefined;
  /** Told when the wake that was begun for this caller has ended. */
  ended?(): void;
  /** Longest wait of this caller, in milliseconds. */
  timeoutMs: number | undefined;
  /** Aborted when the caller leaves. */
  signal: AbortSignal;
}

/** A pod that accepts connections on the port, or why there is none. `waitedMs` tells the phases afterwards. */
export type WakeResult = { pod: PodRecord; waitedMs: number } | { problem: Problem };

/** Holds requests while their sandbox wakes: one wake for a sandbox however many requests wait. */
export interface Waker {
  wake(request: WakeRequest): Promise<WakeResult>;
  heldCount(): number;
  /** How long a wake usually takes. */
  typicalSeconds(): number;
  close(): void;
}

/** One wake under way, shared by all who wait for it. */
interface Flight {
  held: number;
  result: Promise<FlightResult>;
  key: string;
  cancel: AbortController;
  progress: Progress;
}

/** What is known of a wake under way, for callers whose time is up. */
interface Progress {
  /** Why the API did not take the patch yet. */
  trouble: string | undefined;
}

type FlightResult = { pod: PodRecord } | { code: ProblemCode; detail: string; retryAfterSeconds?: number };

/** After so many failed wakes in a row a sandbox is asked for only now and then. */
const BREAKER_FAILURES = 3;
const BREAKER_MS = 5000;
/** What is kept of the caller's own timeout for the request itself. */
const TIMEOUT_MARGIN_MS = 250;
const CONNECT_TIMEOUT_MS = 2000;
/** A port that did not accept is left alone for so long. */
const REFUSED_MS = 1000;
/** Pauses between attempts to reach an API server that does not answer. */
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 2000;

/** A waker over the table: it patches what should run and then only watches the table. */
export function createWaker({ writer, table, limits, finished }: WakerOptions): Waker {
  const flights = new Map<string, Flight>();
  const breakers = new Map<string, { failures: number; openUntilMs: number; problem: FlightResult }>();
  const watchers = new Map<string, Set<() => void>>();
  const times = createWakeTimes();
  let held = 0;

  const stopListening = table.onChange((namespace, name) => {
    for (const notify of watchers.get(`${namespace}/${name}`) ?? []) notify();
  });

  function begin(route: Route, port: number): Flight {
    const cancel = new AbortController();
    const key = flightKey(route, port);
    const startedAtMs = performance.now();
    const asleep = !route.sandbox.running;
    const progress: Progress = { trouble: undefined };
    const result = fly(route, port, progress, cancel.signal).then(
      (outcome) => {
        if (flights.get(key) === flight) flights.delete(key);
        const ok = 'pod' in outcome;
        if (asleep && !cancel.signal.aborted) {
          const durationMs = performance.now() - startedAtMs;
          if (ok) times.add(durationMs);
          finished(ok ? 'ok' : 'failed', durationMs);
        }
        if (!cancel.signal.aborted) rememberOutcome(route, port, outcome);
        return outcome;
      },
      (error: unknown): FlightResult => {
        if (flights.get(key) === flight) flights.delete(key);
        const outcome = failure(error);
        if (asleep) finished('failed', performance.now() - startedAtMs);
        // Who gave up waiting for the API server to come back learned nothing of the sandbox.
        if (!cancel.signal.aborted) rememberOutcome(route, port, outcome);
        return outcome;
      },
    );
    const flight: Flight = { held: 0, key, result, cancel, progress };
    flights.set(key, flight);
    return flight;
  }

  function rememberOutcome(route: Route, port: number, outcome: FlightResult): void {
    const { uid } = route.sandbox;
    if ('pod' in outcome) {
      breakers.delete(uid);
      table.trust(outcome.pod.uid, port);
      return;
    }
    if (outcome.code === 'upstream_refused' && route.pod !== undefined)
      table.suspect(route.pod.uid, port, performance.now() + REFUSED_MS);
    if (outcome.code !== 'wake_failed') return;
    const failures = (breakers.get(uid)?.failures ?? 0) + 1;
    const openUntilMs = failures >= BREAKER_FAILURES ? performance.now() + BREAKER_MS : 0;
    breakers.set(uid, { failures, openUntilMs, problem: outcome });
  }

  async function fly(route: Route, port: number, progress: Progress, signal: AbortSignal): Promise<FlightResult> {
    const { namespace, name } = route.sandbox;
    let generation = route.sandbox.generation;
    const podBefore = route.pod?.uid;
    // A pod that may be sent requests is here only because dials of it failed.
    const suspected = table.isRoutable(route) ? route.pod : undefined;
    let state: FlightResult | undefined = suspected && { pod: suspected };
    if (!route.sandbox.running) generation = await setRunning(route, progress, signal);
    for (;;) {
      state ??= await untilReady(namespace, name, generation, podBefore, signal);
      if (!('pod' in state)) return state;
      const { pod } = state;
      if (await untilAccepting(pod, port, signal, () => table.find(namespace, name)?.pod?.uid === pod.uid))
        return state;
      if (signal.aborted) return { code: 'waking', detail: 'Nobody waits any more.' };
      const now = table.find(namespace, name);
      if (now !== undefined && table.isRoutable(now) && now.pod?.uid === pod.uid) return refused(name, port);
      state = undefined;
    }
  }

  /**
   * Asks the API, again and again while it can't answer and somebody waits: a patch that may have been taken does no harm twice.
   * @throws ApiError with what it answered
   */
  async function setRunning(
    { sandbox: { namespace, name } }: Route,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<number> {
    let pauseMs = FIRST_RETRY_MS;
    for (;;) {
      try {
        const generation = await writer.setRunning({ namespace, name }, true);
        progress.trouble = undefined;
        return generation;
      } catch (error) {
        if (!isPassing(error) || signal.aborted) throw error;
        progress.trouble = error.code === 'Unreachable' ? 'the API server does not answer' : error.message;
        await delay(pauseMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
        pauseMs = Math.min(LONGEST_RETRY_MS, pauseMs * 2);
      }
    }
  }

  function untilReady(
    namespace: string,
    name: string,
    generation: number,
    podBefore: string | undefined,
    signal: AbortSignal,
  ): Promise<FlightResult> {
    return new Promise((resolve) => {
      const key = `${namespace}/${name}`;
      const notify = () => {
        const outcome = signal.aborted
          ? ({ code: 'waking', detail: 'Nobody waits any more.' } as const)
          : judge(table, namespace, name, generation, podBefore);
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
    });
  }

  async function hold(flight: Flight, request: WakeRequest): Promise<FlightResult> {
    const deadlineMs = Math.min(
      limits.holdTimeoutMs,
      Math.max(0, (request.timeoutMs ?? Number.POSITIVE_INFINITY) - TIMEOUT_MARGIN_MS),
    );
    const { promise, resolve } = Promise.withResolvers<FlightResult>();
    const { name } = request.route.sandbox;
    const timer = setTimeout(
      () =>
        resolve({
          code: 'waking',
          detail: flight.progress.trouble
            ? `${name} can not be woken yet: ${flight.progress.trouble}.`
            : `${name} is still waking${whyNot(table.find(request.route.sandbox.namespace, name))}.`,
          retryAfterSeconds: times.typicalSeconds(),
        }),
      deadlineMs,
    );
    const leave = () => resolve({ code: 'waking', detail: 'The caller left.' });
    request.signal.addEventListener('abort', leave, { once: true });
    flight.held++;
    held++;
    try {
      flight.result.then(resolve);
      return await promise;
    } finally {
      clearTimeout(timer);
      request.signal.removeEventListener('abort', leave);
      flight.held--;
      held--;
      // Waiting for a sandbox that should run anyway is pointless once nobody waits; a wake that began is carried through by whoever runs sandboxes.
      // Whoever comes next begins anew instead of joining what is being given up.
      if (flight.held === 0) {
        flight.cancel.abort();
        if (flights.get(flight.key) === flight) flights.delete(flight.key);
      }
    }
  }

  return {
    wake: async (request) => {
      const { route, port } = request;
      const { sandbox } = route;
      const startedAtMs = performance.now();
      const problem = (code: ProblemCode, detail: string, retryAfterSeconds?: number): WakeResult => ({
        problem: {
          code,
          detail,
          sandbox: sandbox.name,
          namespace: sandbox.namespace,
          ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
        },
      });
      if (sandbox.finished)
        return problem('sandbox_finished', `${sandbox.name} has ended for good (${sandbox.readyReason}).`);
      if (!sandbox.running && !sandbox.wakes)
        return problem(
          'wake_disabled',
          `${sandbox.name} is paused, and its annotation sandbox-router/wake says never.`,
        );
      if (!sandbox.running && !request.mayWake)
        return problem('wake_disabled', `${sandbox.name} is paused, and this credential may not wake it.`);
      const breaker = breakers.get(sandbox.uid);
      const flying = flights.get(flightKey(route, port));
      if (
        breaker !== undefined &&
        breaker.openUntilMs > performance.now() &&
        flying === undefined &&
        'code' in breaker.problem
      )
        return problem(breaker.problem.code, breaker.problem.detail, (breaker.openUntilMs - performance.now()) / 1000);
      const quietUntilMs = flying === undefined ? route.pod?.suspectPorts?.get(port) : undefined;
      if (quietUntilMs !== undefined && quietUntilMs > performance.now() && table.isRoutable(route)) {
        const { code, detail } = refused(sandbox.name, port);
        return problem(code, detail, (quietUntilMs - performance.now()) / 1000);
      }
      if (held >= limits.heldTotal)
        return problem('too_many_held', 'Too many requests are held in this router.', times.typicalSeconds());
      if ((flying?.held ?? 0) >= limits.heldPerSandbox)
        return problem('too_many_held', `Too many requests are held for ${sandbox.name}.`, times.typicalSeconds());
      if (flying === undefined && !sandbox.running) {
        const refused = request.beginning?.();
        if (refused !== undefined) return { problem: refused };
      }
      const flight = flying ?? begin(route, port);
      if (flying === undefined && request.ended !== undefined) flight.result.then(request.ended);
      const outcome = await hold(flight, request);
      if ('pod' in outcome) return { pod: outcome.pod, waitedMs: performance.now() - startedAtMs };
      return problem(
        outcome.code,
        outcome.detail,
        outcome.retryAfterSeconds ?? (outcome.code === 'wake_failed' ? BREAKER_MS / 1000 : undefined),
      );
    },
    heldCount: () => held,
    typicalSeconds: times.typicalSeconds,
    close: () => {
      stopListening();
      for (const flight of flights.values()) flight.cancel.abort();
    },
  };
}

/** Whether the API server is away, overloaded or without its store, rather than against it. */
function isPassing(error: unknown): error is ApiError {
  return (['Unreachable', 'ServiceUnavailable', 'Timeout', 'ServerTimeout', 'TooManyRequests'] as const).some((code) =>
    isApiError(error, code),
  );
}

function refused(name: string, port: number): Exclude<FlightResult, { pod: PodRecord }> {
  return {
    code: 'upstream_refused',
    detail: `Could not connect to the backend sandbox: ${name} (nothing listens on port ${port}).`,
  };
}

function flightKey({ sandbox }: Route, port: number): string {
  return `${sandbox.uid}:${port}`;
}

/**
 * What the table says of a wake now; undefined while there is nothing to do but wait. A pod that was there before the wake may be one that is being
 * paused: only the Sandbox's own word makes it good again. A new one is good as soon as it is Ready.
 */
function judge(
  table: RoutingTable,
  namespace: string,
  name: string,
  generation: number,
  podBefore: string | undefined,
): FlightResult | undefined {
  const route = table.find(namespace, name);
  if (route === undefined) return { code: 'sandbox_not_found', detail: `${name} was deleted.` };
  const { sandbox, pod } = route;
  if (sandbox.generation < generation || sandbox.readyGeneration < generation) return undefined;
  if (sandbox.finished)
    return { code: 'sandbox_finished', detail: `${name} has ended for good (${sandbox.readyReason}).` };
  if (sandbox.readyReason === 'SnapshotRestoreFailed')
    return { code: 'wake_failed', detail: `${name} could not be restored: ${sandbox.readyMessage}` };
  if (sandbox.readyReason === 'ReconcilerError')
    return { code: 'wake_failed', detail: `${name} could not be woken: ${sandbox.readyMessage}` };
  // Paused again meanwhile: whoever waits must ask for another wake.
  if (!sandbox.running) return { code: 'waking', detail: `${name} was paused again.`, retryAfterSeconds: 1 };
  if (pod === undefined || !table.isRoutable(route)) return undefined;
  return sandbox.ready || pod.uid !== podBefore ? { pod } : undefined;
}

function whyNot(route: Route | undefined): string {
  return route === undefined || route.sandbox.readyMessage === '' ? '' : `; it says: ${route.sandbox.readyMessage}`;
}

function failure(error: unknown): FlightResult {
  if (error instanceof ApiError && error.code === 'NotFound')
    return { code: 'sandbox_not_found', detail: 'The sandbox was deleted.' };
  const detail =
    error instanceof ApiError
      ? `The API refused to wake it: ${error.message}`
      : 'The API that wakes sandboxes can not be reached.';
  return { code: 'wake_failed', detail };
}

/** Waits until the port accepts: at once after a restore, a moment later after a start. False when the pod changed or refused for long. */
async function untilAccepting(
  pod: PodRecord,
  port: number,
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

function accepts(host: string, port: number): Promise<boolean> {
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
