export type { ControlRecord } from './caller.ts';
export { type ControlApiOptions, registerControlApi } from './control-api.ts';
export { createEventLog } from './event-log.ts';
export { createUrls } from './origin.ts';
