/**
 * The engine's Kubernetes REST API: one set of operations over the store, reached in process through a ResourceClient and over HTTPS.
 * May import store/ and kubernetes/. Promises: both ways in behave alike; an acknowledged write is durable; errors are worded as
 * Kubernetes words them.
 */
export { createEngineApi, type EngineApi, type EngineApiOptions } from './engine-api.ts';
export type { EngineToken } from './http/authentication.ts';
export type { PodLogOptions, PodLogs } from './http/pod-log.ts';
export { type ApiServer, ENGINE_API_VERSION, type ListenOptions } from './http/server.ts';
export type { PodCommand, PodStreams, RunningCommand } from './streaming/index.ts';
export { type Certificates, ensureCertificates } from './tls/certificates.ts';
export { type KubeconfigOptions, writeKubeconfig } from './tls/kubeconfig.ts';
