import type { IncomingMessage } from 'node:http';
import { OwnAnswer } from '../own-answer.ts';
import { type Problem, ProblemError } from '../problem.ts';
import type { PodRecord } from '../table/index.ts';
import { type AsleepAnswers, type Preflight, quietRefusal } from './asleep.ts';
import type { Intent } from './intent.ts';
import type { Preferences } from './preference.ts';
import type { Wake } from './wake.ts';
import { WAKES_PATH, wakeStatus } from './wake-status.ts';
import type { WakeRequest, WakeResult, Waker } from './waker.ts';
import { wakingPage } from './waking-page.ts';

/** A request whose sandbox can't be sent requests now. */
export interface Approach extends WakeRequest {
  method: string;
  /** Path and query as the sandbox gets them. */
  path: string;
  intent: Intent;
  preflight: Preflight;
  preferences: Preferences;
  /** A browser that would show the answer as a page. */
  navigates: boolean;
  /** The caller's own longest wait, in milliseconds. */
  callerTimeoutMs: number | undefined;
  /** What it has spent of its longest wait already. */
  spentMs: number;
  /** Memory that it takes while it is held. */
  bytes: number;
  signal: AbortSignal;
  /** Takes a place among those that the tenant may have held, or says why not; what it gives is called when the wait is over. */
  held(): Problem | (() => void);
  /** Told which wake it waits for. */
  joined(wake: Wake): void;
}

/** A pod, and the wake that made it ready. */
export interface Arrival {
  pod: PodRecord;
  waitedMs: number;
  wake: Wake;
}

/** A navigation that would wait longer gets a page. */
const PAGE_AFTER_MS = 2000;

/**
 * Lets a request wait in the way that suits it: quiet ones not at all, held ones until their deadline, those that prefer a 202 until then, and browsers
 * until they get a page. @throws ProblemError @throws OwnAnswer
 */
export async function approach(waker: Waker, asleep: AsleepAnswers, request: Approach): Promise<Arrival> {
  const { route, intent } = request;
  if (intent !== 'use' && (!route.sandbox.running || (route.pausing?.isAsked() && (await route.pausing.settled))))
    answerQuietly(asleep, request, intent);
  const joined = waker.join(request);
  if ('problem' in joined) throw new ProblemError(joined.problem);
  const { wake } = joined;
  request.joined(wake);
  const { preferences } = request;
  const longestMs = Math.max(0, waker.longestHoldMs(request.callerTimeoutMs, preferences) - request.spentMs);
  if (preferences.respondAsync) {
    const waitMs = preferences.waitMs === undefined ? 0 : longestMs;
    return (await holdBriefly(waker, wake, request, waitMs)) ?? respondAsync(waker, wake);
  }
  if (request.navigates && longestMs > PAGE_AFTER_MS) {
    const waitMs = (waker.expectedMs(wake) ?? 0) > PAGE_AFTER_MS ? 0 : PAGE_AFTER_MS;
    return (await holdBriefly(waker, wake, request, waitMs)) ?? showPage(waker, wake);
  }
  const result = await hold(waker, wake, request, longestMs);
  if ('problem' in result) throw new ProblemError(withPreference(result.problem, preferences));
  return { ...result, wake };
}

/** @throws OwnAnswer @throws ProblemError */
function answerQuietly(asleep: AsleepAnswers, { route, method, path, preflight }: Approach, intent: Intent): never {
  const answer = asleep.find(route, intent, { method, path, preflight });
  if (answer !== undefined) throw new OwnAnswer(answer.status, answer.headers, answer.body);
  const { name, namespace } = route.sandbox;
  throw new ProblemError({ code: 'wake_disabled', detail: quietRefusal(route, intent), sandbox: name, namespace });
}

async function hold(waker: Waker, wake: Wake, request: Approach, timeoutMs: number): Promise<WakeResult> {
  const release = request.held();
  if (typeof release !== 'function') throw new ProblemError(release);
  const { port, bytes, signal } = request;
  try {
    return await waker.hold(wake, { port, timeoutMs, bytes, signal });
  } finally {
    release();
  }
}

/** Undefined when the wake goes on after the wait. @throws ProblemError if it failed */
async function holdBriefly(waker: Waker, wake: Wake, request: Approach, waitMs: number): Promise<Arrival | undefined> {
  // Somebody comes back for it: it goes on whoever waits meanwhile.
  wake.kept = true;
  if (waitMs === 0) return undefined;
  const result = await hold(waker, wake, request, waitMs);
  if (!('problem' in result)) return { ...result, wake };
  if (result.problem.code === 'waking' && wake.outcome === undefined) return undefined;
  throw new ProblemError(withPreference(result.problem, request.preferences));
}

/** 202 with the URL where the wake is followed (RFC 7240 section 4.1). The request itself is not kept. */
function respondAsync(waker: Waker, wake: Wake): never {
  const location = WAKES_PATH + wake.id;
  const headers = {
    location,
    'content-type': 'application/json',
    'cache-control': 'no-store',
    'preference-applied': 'respond-async',
    'retry-after': String(Math.max(1, Math.ceil(waker.retryAfterSeconds(wake)))),
  };
  throw new OwnAnswer(202, headers, `${JSON.stringify({ ...wakeStatus(wake, waker), location })}\n`);
}

function showPage(waker: Waker, wake: Wake): never {
  const { status, headers, body } = wakingPage(
    wake.route.sandbox.name,
    WAKES_PATH + wake.id,
    waker.retryAfterSeconds(wake),
  );
  throw new OwnAnswer(status, headers, body);
}

function withPreference(problem: Problem, { waitMs }: Preferences): Problem {
  return waitMs === undefined ? problem : { ...problem, preferenceApplied: `wait=${waitMs / 1000}` };
}

/** Whether a browser asks for a page to show: not for what a script, an image or a form's POST asks for. */
export function isNavigation(request: Pick<IncomingMessage, 'method' | 'headers'>): boolean {
  return request.headers['sec-fetch-mode'] === 'navigate' && (request.headers.accept ?? '').includes('text/html');
}

/** A preflight as far as its answer depends on it. */
export function preflightOf(path: string, { headers }: Pick<IncomingMessage, 'headers'>): Preflight {
  return {
    path,
    origin: headers.origin ?? '',
    method: headers['access-control-request-method'] ?? '',
    headers: headers['access-control-request-headers'] ?? '',
  };
}
