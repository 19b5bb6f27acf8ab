export * from './client.ts';
export * from './errors.ts';
export * from './names.ts';
export * from './resources.ts';
export type * from './types.ts';
