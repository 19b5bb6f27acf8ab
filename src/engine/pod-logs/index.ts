/** What containers print: kept in bounded files with the times at which it came, and read as `kubectl logs` reads. */
export { createLogStore, type LogStore, type LogStoreOptions } from './log-store.ts';
export { createPodLogs } from './read-log.ts';
