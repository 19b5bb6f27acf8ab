import { LRUCache } from 'lru-cache';
import type { Problem } from '../problem.ts';
import type { SandboxWriter } from '../sandbox-writer.ts';
import type { PodRecord, Route, RoutingTable } from '../table/index.ts';
import { createWakeQueue } from './admission.ts';
import { BREAKER_MS, createBreaker } from './breaker.ts';
import { createHoldBudget, type HoldLimits } from './hold-budget.ts';
import type { Preferences } from './preference.ts';
import {
  acceptsConnections,
  createReadinessWatch,
  NOBODY_WAITS,
  type Readiness,
  type WakeFailure,
  whyNotReady,
} from './readiness.ts';
import { beginWake, refusedBy, type Wake } from './wake.ts';
import { createWakeTimes } from './wake-times.ts';

/** Bounds of waking and of holding requests. */
export interface WakeLimits extends HoldLimits {
  holdTimeoutMs: number;
  /** Wakes at once in this process. */
  concurrentWakes: number;
}

/** What waking needs. */
export interface WakerOptions {
  writer: SandboxWriter;
  table: RoutingTable;
  limits: WakeLimits;
  /** Told how each wake ended. */
  finished(result: 'ok' | 'failed', durationMs: number): void;
  /** Whether a port accepts connections; by a connection to it where nothing else is given. */
  accepts?: (host: string, port: number) => Promise<boolean>;
}

/** Somebody who wants a sandbox. */
export interface WakeRequest {
  route: Route;
  /** Port that must accept before a request goes on. */
  port: number;
  /** Whether the caller may start a paused sandbox; waiting for a running one needs no scope. */
  mayWake: boolean;
  /** Asked before a wake is begun for this caller, not before it joins one; what it answers is why not. */
  beginning?(): Problem | undefined;
  /** Told when the wake that was begun for this caller has ended. */
  ended?(wake: Wake): void;
  /** Whose share of the wakes it takes; without it, the sandbox's namespace with a share of 1. */
  tenant?: { name: string; weight: number; concurrentWakes: number };
}

/** How a request waits. */
export interface HoldRequest {
  port: number;
  /** Longest wait, in milliseconds; the hold timeout bounds it. */
  timeoutMs: number;
  /** Memory that it takes meanwhile. */
  bytes: number;
  /** Aborted when the caller leaves. */
  signal: AbortSignal;
}

/** A pod that accepts connections on the port, or why there is none. */
export type WakeResult = { pod: PodRecord; waitedMs: number } | { problem: Problem };

/** Holds requests while their sandbox wakes: one wake for a sandbox however many requests wait. */
export interface Waker {
  /** Joins the wake of a sandbox, or begins it. */
  join(request: WakeRequest): { wake: Wake } | { problem: Problem };
  /** Waits for a wake. A request that can't be in time is refused at once. */
  hold(wake: Wake, request: HoldRequest): Promise<WakeResult>;
  /** What a caller of its own timeout and of preferences waits at most, in milliseconds. */
  longestHoldMs(callerTimeoutMs: number | undefined, preferences: Preferences): number;
  /** How long a wake will yet take, by the wakes before it; undefined where that is not known. */
  expectedMs(wake: Wake): number | undefined;
  /** When it is worth to ask again, in seconds: nine in ten wakes are ready by then. */
  retryAfterSeconds(wake: Wake): number;
  /** A wake under way, or one that ended a moment ago. */
  find(id: string): Wake | undefined;
  heldCount(): number;
  heldBytes(): number;
  queuedCount(): number;
  /** How long a wake usually takes. */
  typicalSeconds(): number;
  close(): void;
}

/** What is kept of the caller's own timeout for the request itself. */
const TIMEOUT_MARGIN_MS = 250;
/** A wake that takes longer is given up, and the next request begins anew. */
const LONGEST_WAKE_MS = 180_000;
/** How long the end of a wake can be asked for. */
const REMEMBERED_MS = 60_000;
const MOST_REMEMBERED = 10_000;

/** A waker over the table: it patches what should run and then only watches the table. */
export function createWaker({ writer, table, limits, finished, accepts = acceptsConnections }: WakerOptions): Waker {
  const bySandbox = new Map<string, Wake>();
  const remembered = new LRUCache<string, Wake>({ max: MOST_REMEMBERED, ttl: REMEMBERED_MS + LONGEST_WAKE_MS });
  const times = createWakeTimes();
  const queue = createWakeQueue(limits.concurrentWakes);
  const budget = createHoldBudget(limits);
  const breaker = createBreaker(() => performance.now());
  const watch = createReadinessWatch(table);
  /** Patches that are not answered yet. */
  const asking = new Map<string, Promise<unknown>>();

  /** One after the other: that of a wake that was given up while the API was away may still be on its way. */
  async function setRunning(key: { namespace: string; name: string }): Promise<number> {
    const id = `${key.namespace}/${key.name}`;
    while (asking.has(id)) await asking.get(id)?.catch(() => {});
    const answer = writer.setRunning(key, true);
    asking.set(id, answer);
    try {
      return await answer;
    } finally {
      asking.delete(id);
    }
  }

  function begin(request: WakeRequest): Wake {
    const { route, port } = request;
    const { sandbox } = route;
    const tenant = request.tenant;
    const ticket = sandbox.running
      ? undefined
      : queue.enter({
          tenant: tenant?.name ?? sandbox.namespace,
          weight: tenant?.weight ?? 1,
          most: tenant?.concurrentWakes ?? Number.POSITIVE_INFINITY,
        });
    const wake = beginWake(route, port, {
      setRunning,
      table,
      watch,
      ticket,
      accepts,
      mayWake: request.mayWake,
      slotMs: limits.holdTimeoutMs,
      longestMs: Math.max(LONGEST_WAKE_MS, 2 * limits.holdTimeoutMs),
    });
    bySandbox.set(sandbox.uid, wake);
    remembered.set(wake.id, wake);
    wake.ended.then((outcome) => {
      forget(wake);
      remembered.set(wake.id, wake, { ttl: REMEMBERED_MS });
      request.ended?.(wake);
      account(wake, outcome);
    });
    return wake;
  }

  function account(wake: Wake, outcome: Readiness): void {
    const { uid } = wake.route.sandbox;
    const nowMs = performance.now();
    const ok = 'pod' in outcome;
    if (ok) breaker.succeeded(uid);
    else if (outcome.code === 'wake_failed') breaker.failed(uid, outcome);
    // What was given up is no wake.
    if (!wake.woke || outcome === NOBODY_WAITS) return;
    if (ok) times.add(wake.route.sandbox.template, elapsedMs(wake));
    finished(ok ? 'ok' : 'failed', nowMs - wake.phases.startedAtMs);
  }

  function forget(wake: Wake): void {
    const { uid } = wake.route.sandbox;
    if (bySandbox.get(uid) === wake) bySandbox.delete(uid);
  }

  /** Nobody waits: a place in the queue goes to others, and a sandbox that should run anyway is watched by nobody. A wake that began is carried through. */
  function giveUpUnwanted(wake: Wake): void {
    if (wake.held > 0 || wake.kept || wake.outcome !== undefined) return;
    const begun = wake.trouble === undefined && (wake.admittedAtMs !== undefined || wake.ticket?.isAdmitted() === true);
    if ((wake.woke || wake.asked) && begun) return;
    forget(wake);
    wake.cancel();
    wake.ticket?.leave();
  }

  function expectedMs(wake: Wake): number | undefined {
    const usualMs = times.expectedMs(wake.route.sandbox.template);
    if (usualMs === undefined || !wake.woke) return undefined;
    return aheadMs(wake, usualMs) + Math.max(0, usualMs - elapsedMs(wake));
  }

  /** Those before it in the queue take turns on the places there are. */
  function aheadMs({ ticket, admittedAtMs }: Wake, usualMs: number): number {
    if (ticket === undefined || admittedAtMs !== undefined || ticket.isAdmitted()) return 0;
    return (Math.floor(ticket.position() / queue.concurrent) + 1) * usualMs;
  }

  function retryAfterFor(wake: Wake): number {
    const usualMs = times.typicalSeconds(wake.route.sandbox.template) * 1000;
    return (aheadMs(wake, usualMs) + Math.max(usualMs - elapsedMs(wake), 0)) / 1000;
  }

  function stillWaking({ route, trouble }: Wake, what: string): WakeFailure {
    const { namespace, name } = route.sandbox;
    if (trouble !== undefined) return { code: 'waking', detail: `${name} can not be woken yet: ${trouble}.` };
    return { code: 'waking', detail: `${name} ${what}${whyNotReady(table.find(namespace, name))}.` };
  }

  function problemOf(wake: Wake, failure: WakeFailure): WakeResult {
    const { sandbox } = wake.route;
    const retryAfterSeconds =
      failure.retryAfterSeconds ??
      (failure.code === 'waking' || failure.code === 'too_many_held'
        ? retryAfterFor(wake)
        : failure.code === 'wake_failed'
          ? BREAKER_MS / 1000
          : undefined);
    return {
      problem: {
        code: failure.code,
        detail: failure.detail,
        sandbox: sandbox.name,
        namespace: sandbox.namespace,
        ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
      },
    };
  }

  return {
    join: (request) => {
      const { route } = request;
      const { sandbox } = route;
      const refusal = refusalOf(request);
      const refuse = (failure: WakeFailure): { problem: Problem } => ({
        problem: { ...failure, sandbox: sandbox.name, namespace: sandbox.namespace },
      });
      if (refusal !== undefined) return refuse(refusal);
      const known = bySandbox.get(sandbox.uid);
      if (known !== undefined) {
        known.mayWake ||= request.mayWake;
        return { wake: known };
      }
      const open = breaker.open(sandbox.uid);
      if (open !== undefined) return refuse({ ...open.failure, retryAfterSeconds: open.remainingMs / 1000 });
      const quietUntilMs = route.pod?.suspectPorts?.get(request.port) ?? 0;
      if (quietUntilMs > performance.now() && table.isRoutable(route))
        return refuse({
          ...refusedBy(sandbox.name, request.port),
          retryAfterSeconds: (quietUntilMs - performance.now()) / 1000,
        });
      const refused = sandbox.running ? undefined : request.beginning?.();
      return refused === undefined ? { wake: begin(request) } : { problem: refused };
    },

    hold: async (wake, { port, timeoutMs, bytes, signal }) => {
      const startedAtMs = performance.now();
      const { name } = wake.route.sandbox;
      const full = budget.refusal(wake.held, name, bytes);
      const expected = expectedMs(wake);
      if (full !== undefined || (expected !== undefined && expected > timeoutMs)) {
        const failure: WakeFailure =
          full === undefined
            ? stillWaking(
                wake,
                `is waking, which will take longer than this request may wait (${describeMs(timeoutMs)})`,
              )
            : { code: 'too_many_held', detail: full };
        const result = problemOf(wake, failure);
        giveUpUnwanted(wake);
        return result;
      }
      const { promise, resolve } = Promise.withResolvers<Readiness>();
      const timer = setTimeout(() => resolve(stillWaking(wake, 'is still waking')), timeoutMs);
      const leave = () => resolve({ code: 'waking', detail: 'The caller left.' });
      signal.addEventListener('abort', leave, { once: true });
      wake.held++;
      budget.take(bytes);
      try {
        wake.reach(port).then(resolve);
        const outcome = await promise;
        return 'pod' in outcome
          ? { pod: outcome.pod, waitedMs: performance.now() - startedAtMs }
          : problemOf(wake, outcome);
      } finally {
        clearTimeout(timer);
        signal.removeEventListener('abort', leave);
        wake.held--;
        budget.give(bytes);
        giveUpUnwanted(wake);
      }
    },

    longestHoldMs: (callerTimeoutMs, { waitMs }) =>
      Math.min(
        limits.holdTimeoutMs,
        waitMs ?? Number.POSITIVE_INFINITY,
        Math.max(0, (callerTimeoutMs ?? Number.POSITIVE_INFINITY) - TIMEOUT_MARGIN_MS),
      ),
    expectedMs,
    retryAfterSeconds: retryAfterFor,
    find: (id) => remembered.get(id),
    heldCount: budget.count,
    heldBytes: budget.bytes,
    queuedCount: queue.waiting,
    typicalSeconds: () => times.typicalSeconds(),
    close: () => {
      watch.close();
      for (const wake of bySandbox.values()) wake.cancel();
    },
  };
}

/** What keeps this caller from waking the sandbox, whatever the state of the router. */
function refusalOf({ route: { sandbox }, mayWake }: WakeRequest): WakeFailure | undefined {
  if (sandbox.finished)
    return { code: 'sandbox_finished', detail: `${sandbox.name} has ended for good (${sandbox.readyReason}).` };
  if (sandbox.running) return undefined;
  if (!sandbox.wakes)
    return {
      code: 'wake_disabled',
      detail: `${sandbox.name} is paused, and its annotation sandbox-router/wake says never.`,
    };
  if (!mayWake)
    return { code: 'wake_disabled', detail: `${sandbox.name} is paused, and this credential may not wake it.` };
  return undefined;
}

function elapsedMs({ admittedAtMs }: Wake): number {
  return admittedAtMs === undefined ? 0 : performance.now() - admittedAtMs;
}

function describeMs(timeoutMs: number): string {
  return `${Math.round(timeoutMs / 100) / 10} s`;
}
