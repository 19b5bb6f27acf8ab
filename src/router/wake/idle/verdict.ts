/**
 * All that decides whether a sandbox is idle, in milliseconds. Times are of this router's monotonic clock, so that a clock that is set says nothing of
 * use; only what happened before this router knew everything has to be told by timestamps of others.
 */
export interface IdleFacts {
  nowMs: number;
  /** 0 for never. */
  idleTimeoutMs: number;
  /** Running, with a Ready pod, and not on its way anywhere. */
  running: boolean;
  /** Requests that this router waits for. */
  inFlight: number;
  /** How long the busy lease of the sandbox yet lasts; 0 without one. */
  busyMs: number;
  /** When this router last saw activity; 0 for never. */
  seenMs: number;
  /** When word came of use elsewhere, or of another pod; 0 for never since `knownMs`. */
  heardMs: number;
  /** When word came that it uses more CPU than its floor; 0 for never. */
  cpuMs: number;
  /** Since when this router hears everything. */
  knownMs: number;
  /** How long before `nowMs` it was last used by what timestamps say: the pod's age or the latest report's, whichever is less. */
  stampedIdleMs: number;
  /** Activity that another router saw may go unreported for so long; 0 where there is no other. */
  reportDelayMs: number;
}

/** Whether to pause, and since when nothing happened. */
export interface IdleVerdict {
  pause: boolean;
  idleMs: number;
}

/** Pure: the same facts give the same verdict on every router. */
export function judgeIdle(facts: IdleFacts): IdleVerdict {
  const { nowMs, idleTimeoutMs, reportDelayMs } = facts;
  const witnessed = facts.seenMs !== 0 || facts.heardMs !== 0 || facts.cpuMs !== 0;
  const heardMs = facts.heardMs === 0 ? 0 : facts.heardMs + reportDelayMs;
  const idleMs = Math.max(0, witnessed ? nowMs - Math.max(facts.seenMs, heardMs, facts.cpuMs) : facts.stampedIdleMs);
  // Whatever timestamps say: who uses it elsewhere would have been heard of in this time.
  const listened = nowMs - facts.knownMs >= Math.min(idleTimeoutMs, 2 * reportDelayMs);
  const pause =
    facts.running &&
    idleTimeoutMs > 0 &&
    facts.inFlight === 0 &&
    facts.busyMs <= 0 &&
    idleMs >= idleTimeoutMs &&
    listened;
  return { pause, idleMs };
}
