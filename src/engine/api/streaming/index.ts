/** Connections into running Pods: exec, attach and port-forward over WebSockets. Knows nothing of runtimes; see {@link PodStreams}. */
export type { PodCommand, PodStreams, RunningCommand } from './pod-streams.ts';
export { mountStreaming, upgradeRequired } from './routes.ts';
