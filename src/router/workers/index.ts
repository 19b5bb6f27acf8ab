export { startRouterWithWorkers } from './primary.ts';
export { runWorker } from './worker.ts';
