export { type AsleepRules, asleepRules, QUIET_INTENTS, type QuietIntent } from './asleep-rules.ts';
export { type BusyLease, busyMs } from './busy-lease.ts';
export { copyPod, copySandbox } from './copy.ts';
export { projectLabels, projectPod, projectSandbox } from './project.ts';
export { type PortProtocols, protocolOf, type UpstreamProtocol } from './protocols.ts';
export type { PauseUnderWay, PodRecord, Route, RouteActivity, SandboxRecord, UseOrigin } from './records.ts';
export { createRoutingTable, type Removed, type RouteListener, type RoutingTable } from './table.ts';
