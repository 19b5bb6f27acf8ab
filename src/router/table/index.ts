export { type AsleepRules, QUIET_INTENTS, type QuietIntent } from './asleep-rules.ts';
export { copyPod, copySandbox } from './copy.ts';
export { projectLabels, projectPod, projectSandbox } from './project.ts';
export type { PodRecord, Route, RouteActivity, SandboxRecord } from './records.ts';
export { createRoutingTable, type Removed, type RouteListener, type RoutingTable } from './table.ts';
