export { type Approach, type Arrival, approach, isNavigation, preflightOf } from './approach.ts';
export { type AsleepAnswers, createAsleepAnswers } from './asleep.ts';
export { heldBytesOf } from './hold-budget.ts';
export {
  type ActivityTracker,
  createActivityTracker,
  createCpuUsage,
  createIdlePauser,
  isEventStream,
  isHeartbeat,
  type Use,
} from './idle/index.ts';
export { createIntentReader, type Intent, type IntentReader, withDefaults } from './intent.ts';
export { keepRunningWhileUsed } from './keep-running.ts';
export { readPreferences } from './preference.ts';
export { isLeaving, type PauseOutcome, pauseInTwoPhases } from './two-phase-pause.ts';
export type { Wake } from './wake.ts';
export {
  isWakeUrl,
  sandboxOfWake,
  serverTiming,
  strangeWakeStatus,
  type WakeStatus,
  wakeStatus,
} from './wake-status.ts';
export { createWaker, type WakeLimits, type WakeRequest, type WakeResult, type Waker } from './waker.ts';
