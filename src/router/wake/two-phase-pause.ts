import { randomBytes } from 'node:crypto';
import { DRAINING_ANNOTATION, isApiError } from '../../kubernetes/index.ts';
import type { SandboxWriter } from '../sandbox-writer.ts';
import type { Route } from '../table/index.ts';
import type { Intent } from './intent.ts';

/** How a sandbox is to be paused. */
export interface PauseOptions {
  writer: SandboxWriter;
  /** How long other processes that answer requests are given to say that they use it; 0 where there are none. */
  drainMs: number;
  /** How long to wait for requests that are under way here. */
  inFlightMs: number;
  /** Whether any change of the object since the decision is an objection: not where somebody asked for the pause. */
  fenced: boolean;
  /** Asked last, when nothing is under way: whether it is still to be paused. */
  stillWanted(): Promise<boolean>;
}

/** What came of a pause; `detail` says what called it off. */
export type PauseOutcome = { paused: true } | { paused: false; detail: string };

const LOOK_MS = 10;
/** Longest wait for the table to follow. */
const RECORD_MS = 5000;

/**
 * Pauses a sandbox so that no request is caught in between (design section 6): from the decision on, requests of use call the pause off, in this process at
 * once and in others by a patch; only when nothing is under way any more is the API asked, for exactly the version in which nobody had called it off. A request
 * that comes while the API is asked waits for its answer, and wakes what was paused. @throws ApiError
 */
export async function pauseInTwoPhases(route: Route, options: PauseOptions): Promise<PauseOutcome> {
  if (route.pausing !== undefined) return { paused: false, detail: 'it is being paused already' };
  const { writer, drainMs, inFlightMs, fenced } = options;
  const { namespace, name, uid } = route.sandbox;
  const key = { namespace, name };
  const settled = Promise.withResolvers<boolean>();
  const announcement = `${new Date().toISOString()} ${randomBytes(4).toString('hex')}`;
  let phase = 'draining' as 'draining' | 'fencing' | 'called off';
  let announced = false;
  const pausing = {
    announcement,
    callOff: (): Promise<boolean> => {
      if (phase === 'draining') {
        phase = 'called off';
        settle();
      }
      return settled.promise;
    },
    settled: settled.promise,
    isAsked: () => phase === 'fencing',
  };
  route.pausing = pausing;

  /** From now on requests go their usual way. */
  function settle(): void {
    if (route.pausing === pausing) route.pausing = undefined;
    settled.resolve(false);
  }

  const isAnnounced = () => route.sandbox.draining === announcement;
  const isCalledOff = () => phase === 'called off';

  /** Gives everybody the time to call it off; resolves with the version of the object in which nobody had. */
  async function drain(): Promise<string> {
    if (drainMs > 0) {
      const { resourceVersion } = route.sandbox;
      announced = true;
      await writer.announcePause(key, fenced ? { uid, resourceVersion } : { uid }, announcement);
      await untilTrue(() => isCalledOff() || isAnnounced(), RECORD_MS);
      await untilTrue(() => isCalledOff() || !isAnnounced(), drainMs);
    }
    await untilTrue(() => isCalledOff() || route.activity.inFlight === 0, inFlightMs);
    return route.sandbox.resourceVersion;
  }

  /** Why it is not to be paused after all. */
  function objection(wanted: boolean): string | undefined {
    if (isCalledOff()) return 'a request came while it was about to be paused';
    if (route.activity.inFlight > 0) return 'requests are under way';
    if (announced && !isAnnounced()) return 'it is used elsewhere';
    return wanted ? undefined : 'it is used again';
  }

  /** Asks the API for that version, or whichever comes next while nobody calls it off where only that matters. */
  async function fence(version: string): Promise<number> {
    const versionMatters = fenced || announced;
    for (let tried = version; ; tried = route.sandbox.resourceVersion) {
      try {
        return await writer.setRunning(key, false, versionMatters ? { uid, resourceVersion: tried } : { uid });
      } catch (error) {
        if (fenced || !announced || !isApiError(error, 'Conflict')) throw error;
        await untilTrue(() => route.sandbox.resourceVersion !== tried, RECORD_MS);
        if (!isAnnounced() || route.sandbox.resourceVersion === tried) throw error;
      }
    }
  }

  try {
    const version = await drain();
    const wanted = await options.stillWanted();
    const detail = objection(wanted);
    if (detail !== undefined) return { paused: false, detail };
    // In the same turn as the last look: whoever comes from now on waits for the answer.
    phase = 'fencing';
    const generation = await fence(version);
    announced = false;
    settled.resolve(true);
    // Until the record says so, this does.
    await untilTrue(() => route.sandbox.generation >= generation, RECORD_MS);
    return { paused: true };
  } catch (error) {
    // Somebody has used, changed, woken or deleted it since.
    if (isApiError(error, 'Conflict')) return { paused: false, detail: 'it was used or changed elsewhere' };
    throw error;
  } finally {
    // Without an answer it may be paused after all: then its record says so, and requests act on that.
    settle();
    if (announced) await writer.annotate(key, uid, { [DRAINING_ANNOTATION]: null }).catch(() => {});
  }
}

/** Whether a pause must be called off before a request may go on; quiet ones call none off. */
export function isLeaving({ pausing, sandbox }: Route, intent: Intent): boolean {
  if (pausing === undefined && sandbox.draining === '') return false;
  return intent === 'use' || pausing?.isAsked() === true;
}

async function untilTrue(condition: () => boolean, timeoutMs: number): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!condition() && performance.now() < deadlineMs) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}
