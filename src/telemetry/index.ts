export { createRouterMetrics, type RouterGauges, type RouterMetrics } from './router-metrics.ts';
