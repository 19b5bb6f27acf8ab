export {
  type ActivityTracker,
  createActivityTracker,
  createIdlePauser,
} from './idle/index.ts';
export { createWaker, type WakeLimits, type WakeRequest, type WakeResult, type Waker } from './waker.ts';
