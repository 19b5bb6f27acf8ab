/**
 * Durable objects for the engine's API: one lmdb environment, monotonic revisions, recent history. May import kubernetes/ types only.
 * Promises: a write that resolved survives kill -9 and power loss; a revision is never given twice.
 */
export { StoreError } from './errors.ts';
export type { Change } from './history.ts';
export { openStore, type Store, type StoreListOptions, type StoreOptions, type StorePage } from './store.ts';
