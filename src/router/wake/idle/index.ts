export { type ActivityTracker, createActivityTracker, type Use } from './activity.ts';
export { createCpuUsage } from './cpu-usage.ts';
export { isEventStream, isHeartbeat } from './heartbeat.ts';
export { createIdlePauser, type IdlePauserOptions } from './pauser.ts';
export { type IdleFacts, type IdleVerdict, judgeIdle } from './verdict.ts';
