export { AUDIT_INTERVAL_MS, type AuditLog, type AuditRecord, createAuditLog } from './audit-log.ts';
export { createLineWriter, type LineWriter } from './line-writer.ts';
export { createRouterMetrics, type RouterGauges, type RouterMetrics } from './router-metrics.ts';
export { type RequestTrace, startTraces, type TraceOptions, type Traces } from './traces.ts';
