import type { ResourceClient } from '../../../kubernetes/index.ts';
import type { SandboxNetwork } from '../../network/index.ts';
import type { LogStore } from '../../pod-logs/index.ts';
import type { ContainerIds, ContainerRuntime } from '../../runtime/index.ts';
import type { EventRecorder } from '../events.ts';
import type { ClaimVolumes } from './claim-volumes.ts';
import type { PodImages } from './pod-images.ts';
import type { PodRecords } from './pod-record.ts';
import type { PreparedContainers } from './prepared/index.ts';
import type { SnapshotDirectory } from './snapshots.ts';

/** What running Pods needs. */
export interface PodRunnerOptions {
  client: ResourceClient;
  claims: ClaimVolumes;
  runtime: ContainerRuntime;
  network: SandboxNetwork;
  images: PodImages;
  containers: ContainerIds;
  prepared: PreparedContainers;
  records: PodRecords;
  snapshots: SnapshotDirectory;
  logs: LogStore;
  /** Files that Pods get from the engine: a directory for each. */
  filesDirectory: string;
  nameServer: string | undefined;
  events: EventRecorder;
  now(): Date;
  /** Told of what went wrong and was made up for. */
  failed(what: string, error: unknown): void;
  /** The state of this Pod (`namespace/name`) changed: it wants a new status, or another pass. */
  changed(key: string): void;
}
