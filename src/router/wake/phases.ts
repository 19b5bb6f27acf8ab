/** What a wake goes through, in this order; `connect` ends it. */
export const WAKE_PHASES = ['queue', 'schedule', 'restore', 'ready', 'connect'] as const;

/** One of {@link WAKE_PHASES}. */
export type WakePhase = (typeof WAKE_PHASES)[number];

/** When each phase of a wake ended, on the monotonic clock. */
export interface PhaseClock {
  readonly startedAtMs: number;
  /** The phase has ended, and all before it; one that has ended already stays as it was. */
  end(phase: WakePhase): void;
  /** The one under way; undefined when all have ended. */
  current(): WakePhase | undefined;
  /** Durations of those that ended, in milliseconds. */
  durations(): { phase: WakePhase; durationMs: number }[];
}

/** A clock whose first phase begins now. `changed` is told of each end. */
export function createPhaseClock(nowMs: () => number, changed: () => void): PhaseClock {
  const startedAtMs = nowMs();
  const ends: number[] = [];
  return {
    startedAtMs,
    end: (phase) => {
      const wanted = WAKE_PHASES.indexOf(phase) + 1;
      if (ends.length >= wanted) return;
      while (ends.length < wanted) ends.push(nowMs());
      changed();
    },
    current: () => WAKE_PHASES[ends.length],
    durations: () =>
      ends.map((endMs, index) => ({
        phase: WAKE_PHASES[index] as WakePhase,
        durationMs: endMs - (ends[index - 1] ?? startedAtMs),
      })),
  };
}
