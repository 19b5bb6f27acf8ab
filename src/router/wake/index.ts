export { createWaker, type WakeLimits, type WakeRequest, type WakeResult, type Waker } from './waker.ts';
