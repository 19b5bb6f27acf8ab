export * from './client.ts';
export * from './errors.ts';
export { createHttpResourceClient, type HttpResourceClient } from './http-client.ts';
export { type ApiAccess, KubeConfigError, loadKubeConfig } from './kube-config.ts';
export { type LabelSelector, matchesLabels } from './label-selector.ts';
export * from './names.ts';
export { createReflector, type Reflector, type ReflectorOptions } from './reflector.ts';
export * from './resources.ts';
export type * from './types.ts';
