/** All that decides whether a sandbox is idle; times in milliseconds since the epoch. */
export interface IdleFacts {
  nowMs: number;
  /** 0 for never. */
  idleTimeoutMs: number;
  /** Running, with a Ready pod, and not on its way anywhere. */
  running: boolean;
  /** Requests that this router waits for. */
  inFlight: number;
  /** When this router last saw activity; 0 for never. */
  seenMs: number;
  /** When any router last reported activity; 0 for never. */
  reportedMs: number;
  /** When its pod was made: one that nobody called yet is idle from then on. */
  startedMs: number;
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
  const lastMs = Math.max(
    facts.seenMs,
    facts.startedMs,
    facts.reportedMs === 0 ? 0 : facts.reportedMs + facts.reportDelayMs,
  );
  const idleMs = Math.max(0, facts.nowMs - lastMs);
  const pause = facts.running && facts.idleTimeoutMs > 0 && facts.inFlight === 0 && idleMs >= facts.idleTimeoutMs;
  return { pause, idleMs };
}
