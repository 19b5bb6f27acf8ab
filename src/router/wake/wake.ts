import { randomUUID } from 'node:crypto';
import { ApiError } from '../../kubernetes/index.ts';
import type { PauseUnderWay, Route, RoutingTable } from '../table/index.ts';
import type { Ticket } from './admission.ts';
import { createRetryPause, isPassing } from './api-outage.ts';
import { createPhaseClock, type PhaseClock } from './phases.ts';
import {
  NOBODY_WAITS,
  NOT_IN_TIME,
  type Readiness,
  type ReadinessWatch,
  untilAccepting,
  type WakeFailure,
} from './readiness.ts';

/** What a wake needs of its surroundings. */
export interface WakeContext {
  /** Asks the API to let it run, and resolves with the generation in which it does. @throws ApiError */
  setRunning(key: { namespace: string; name: string }): Promise<number>;
  table: RoutingTable;
  watch: ReadinessWatch;
  /** The place in the queue; undefined for a sandbox that should run anyway: it is only waited for. */
  ticket: Ticket | undefined;
  accepts(host: string, port: number): Promise<boolean>;
  /** Whether who begins it may start a paused sandbox. */
  mayWake: boolean;
  /** After this time others may begin theirs, whatever became of this one. */
  slotMs: number;
  /** After this time it is given up. */
  longestMs: number;
}

/** One wake of one sandbox, shared by all who wait for it. */
export interface Wake {
  /** A UUID, namespace and name, with dots: part of the URL where its state is told, by routers too that did not begin it. */
  readonly id: string;
  readonly route: Route;
  /** Whether it was asleep when this began. */
  readonly woke: boolean;
  readonly phases: PhaseClock;
  readonly ticket: Ticket | undefined;
  /** How it ended, for the port that it began for; undefined while it goes on. */
  readonly outcome: Readiness | undefined;
  /** Resolves with {@link Wake.outcome}. */
  readonly ended: Promise<Readiness>;
  /** When it was let in by the queue, on the monotonic clock; undefined before. */
  readonly admittedAtMs: number | undefined;
  /** Why the API did not take the patch yet; undefined while it is not against it. */
  readonly trouble: string | undefined;
  /** Whether the API was asked to let it run. */
  readonly asked: boolean;
  /** Requests that wait. */
  held: number;
  /** Somebody will come back for it: it goes on although nobody waits. */
  kept: boolean;
  /** Whether any of those who wait may wake it, should it turn out to be paused. */
  mayWake: boolean;
  /** Resolves when a port accepts. */
  reach(port: number): Promise<Readiness>;
  /** Told of each change of its phase, and of its end. */
  onChange(listener: () => void): () => void;
  /** Nobody waits any more. */
  cancel(): void;
}

/** From which generation on it is to run, and whether the API was asked for that. */
interface Begun {
  generation: number;
  asked?: true;
}

/** A port that did not accept is left alone for so long. */
const REFUSED_MS = 1000;

/** Begins a wake: queue, patch, wait for the pod and for the port. It never rejects. */
export function beginWake(route: Route, port: number, context: WakeContext): Wake {
  const { table, watch, ticket } = context;
  const { namespace, name, running } = route.sandbox;
  const cancelling = new AbortController();
  const { signal } = cancelling;
  const listeners = new Set<() => void>();
  const ports = new Map<number, Promise<Readiness>>();
  const podBefore = route.pod?.uid;
  const changed = () => {
    for (const listener of listeners) listener();
  };
  let outcome: Readiness | undefined;
  let admittedAtMs: number | undefined;
  let trouble: string | undefined;
  let asked = false;
  let outlasted: PauseUnderWay | undefined;
  let again: Promise<Begun | WakeFailure> | undefined;

  const phases = createPhaseClock(() => performance.now(), changed);
  const started = Promise.resolve().then(start);

  async function start(): Promise<Begun | WakeFailure> {
    // Our own pause that was asked for and not answered yet could otherwise come after the wake.
    const paused = await outlastsPause();
    if (signal.aborted) return signal.reason as WakeFailure;
    if (ticket === undefined || running) {
      admittedAtMs = performance.now();
      return await keepRunning(paused);
    }
    await Promise.race([ticket.admitted, aborted(signal)]);
    if (signal.aborted) return signal.reason as WakeFailure;
    admittedAtMs = performance.now();
    phases.end('queue');
    return await setRunning();
  }

  /** Calls off a pause of our own; true if that came too late. Each is asked once: after that it is the past. */
  async function outlastsPause(): Promise<boolean> {
    const { pausing } = route;
    if (pausing === undefined || pausing === outlasted) return false;
    outlasted = pausing;
    return await pausing.callOff();
  }

  /** It runs: a pause that is under way is called off, or was too far and is followed by a start. */
  async function keepRunning(paused: boolean): Promise<Begun | WakeFailure> {
    if (paused || !route.sandbox.running) return await wakeAgain();
    if (route.sandbox.draining !== '') return await setRunning();
    return { generation: route.sandbox.generation };
  }

  /** Paused by somebody else while others wait for it: whoever may wake it still wants it. */
  async function wakeAgain(): Promise<Begun | WakeFailure> {
    if (!wake.mayWake || !route.sandbox.wakes)
      return { code: 'wake_disabled', detail: `${name} was paused, and nobody who waits may wake it.` };
    again ??= setRunning().finally(() => {
      again = undefined;
    });
    return await again;
  }

  /** Asks the API, again and again while it can't answer and somebody waits: a patch that may have been taken does no harm twice. */
  async function setRunning(): Promise<Begun | WakeFailure> {
    asked = true;
    const retryPause = createRetryPause(signal);
    for (;;) {
      try {
        const generation = await context.setRunning({ namespace, name });
        trouble = undefined;
        return { generation, asked: true };
      } catch (error) {
        if (!isPassing(error)) return failureOf(error);
        if (signal.aborted) return signal.reason as WakeFailure;
        trouble = error.code === 'Unreachable' ? 'the API server does not answer' : error.message;
        if (!isWanted()) return NOBODY_WAITS;
        await retryPause();
      }
    }
  }

  const isWanted = () => wake.held > 0 || wake.kept;

  async function reachNow(wanted: number): Promise<Readiness> {
    let begun = await started;
    if (!('generation' in begun)) return begun;
    // A pod that may be sent requests is waited for only because dials of it failed.
    const suspected = begun.asked !== true && table.isRoutable(route) ? route.pod : undefined;
    let state: Readiness | undefined = suspected && { pod: suspected };
    for (;;) {
      state ??= await watch.untilReady({
        namespace,
        name,
        generation: begun.generation,
        asked: begun.asked === true,
        podBefore,
        phases,
        signal,
      });
      if ('pausedAgain' in state && !signal.aborted) {
        begun = isWanted() ? await wakeAgain() : NOBODY_WAITS;
        if (!('generation' in begun)) return begun;
        state = undefined;
        continue;
      }
      if (!('pod' in state)) return state;
      const { pod } = state;
      const isCurrent = () => table.find(namespace, name)?.pod?.uid === pod.uid;
      if (await untilAccepting(pod, wanted, context.accepts, signal, isCurrent)) {
        // A pause of our own that was decided while this was on its way.
        if (!(await outlastsPause())) return state;
        begun = isWanted() ? await wakeAgain() : NOBODY_WAITS;
        if (!('generation' in begun)) return begun;
        state = undefined;
        continue;
      }
      if (signal.aborted) return signal.reason as WakeFailure;
      const now = table.find(namespace, name);
      if (now !== undefined && table.isRoutable(now) && isCurrent()) {
        table.suspect(pod.uid, wanted, performance.now() + REFUSED_MS);
        return refusedBy(name, wanted);
      }
      state = undefined;
    }
  }

  function reach(wanted: number): Promise<Readiness> {
    let reached = ports.get(wanted);
    if (reached === undefined) {
      reached = reachNow(wanted).then((result) => {
        if ('pod' in result) table.trust(result.pod.uid, wanted);
        return result;
      });
      ports.set(wanted, reached);
    }
    return reached;
  }

  const giveUp = setTimeout(() => cancelling.abort(NOT_IN_TIME), context.longestMs);
  giveUp.unref();
  const slot = setTimeout(() => (ticket?.isAdmitted() ? ticket.leave() : undefined), context.slotMs);
  slot.unref();
  ticket?.admitted.then(() => slot.refresh());
  const ended = reach(port).then((result) => {
    outcome = result;
    if ('pod' in result) phases.end('connect');
    clearTimeout(giveUp);
    clearTimeout(slot);
    ticket?.leave();
    changed();
    return result;
  });

  const wake: Wake = {
    id: `${randomUUID()}.${namespace}.${name}`,
    route,
    woke: !running,
    phases,
    ticket,
    ended,
    held: 0,
    kept: false,
    mayWake: context.mayWake,
    get outcome() {
      return outcome;
    },
    get asked() {
      return asked;
    },
    get admittedAtMs() {
      return admittedAtMs;
    },
    reach,
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    get trouble() {
      return trouble;
    },
    cancel: () => cancelling.abort(NOBODY_WAITS),
  };
  return wake;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** A sandbox that runs, and does not listen there. */
export function refusedBy(name: string, port: number): WakeFailure {
  return {
    code: 'upstream_refused',
    detail: `Could not connect to the backend sandbox: ${name} (nothing listens on port ${port}).`,
  };
}

function failureOf(error: unknown): WakeFailure {
  if (error instanceof ApiError && error.code === 'NotFound')
    return { code: 'sandbox_not_found', detail: 'The sandbox was deleted.' };
  const detail =
    error instanceof ApiError
      ? `The API refused to wake it: ${error.message}`
      : 'The API that wakes sandboxes can not be reached.';
  return { code: 'wake_failed', detail };
}
