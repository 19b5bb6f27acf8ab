import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type OwnerReference, type Pod, TEMPLATE_HASH_LABEL } from '../../../kubernetes/index.ts';
import type { ContainerRuntime } from '../../runtime/index.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import type { SnapshotCompatibility } from './compatibility.ts';
import type { ContainerEnd } from './status.ts';

/** The PodSnapshot that stands for a snapshot in the API: enough to write it again. */
export interface PodSnapshotIdentity {
  namespace: string;
  name: string;
  /** Name of the Pod that it was taken of, and that Pod's labels. */
  pod: string;
  labels: Record<string, string>;
  /** Taken by suspending a Sandbox, or because a trigger asked for it. */
  cause: 'suspend' | 'trigger';
  /** UID of that trigger. */
  trigger?: string;
  /** Milliseconds of the epoch. */
  takenAtMs: number;
  /** The Sandbox: the snapshot is its own, goes with it and is restored for no other. */
  owner?: OwnerReference;
}

/** What a snapshot of a template is of. */
export interface TemplateSnapshotIdentity {
  /** Only Pods of this namespace are made from it. */
  namespace: string;
  /** Name of the SandboxTemplate. */
  name: string;
  /** Hash of what its processes were started with, values from ConfigMaps, Secrets and the Pod's own fields included. */
  processes: string;
}

/** The containers that share a sandbox, by name: those in its memory, and those that ended for good before. */
export type SnapshotMembers = Record<string, { end?: ContainerEnd; imageDigest?: string }>;

/** What is kept beside the data of a snapshot. */
export interface SnapshotRecord {
  /** The address that its connections know; empty when there is none worth keeping. */
  address: string;
  compatibility?: SnapshotCompatibility;
  /** Content of the image that its processes were started from; absent for the built-in one. */
  imageDigest?: string;
  /** There where several containers share the sandbox. */
  members?: SnapshotMembers;
  /** Absent for snapshots that the engine keeps for itself. */
  podSnapshot?: PodSnapshotIdentity;
  /** There for snapshots that many Pods may be made from. */
  template?: TemplateSnapshotIdentity;
}

/** Snapshots of the engine on disk: a directory for each, and beside it what must be known of it. */
export interface SnapshotDirectory {
  pathOf(id: string): string;
  exists(id: string): boolean;
  /** True also for one whose writing began and may still go on. */
  begun(id: string): boolean;
  /** Written before the data: data without a record would be of no use. */
  writeRecord(id: string, record: SnapshotRecord): void;
  recordOf(id: string): SnapshotRecord | undefined;
  sizeBytesOf(id: string): number;
  discard(id: string): Promise<void>;
  /** Ids of all snapshots, complete or not. */
  list(): string[];
}

/** Id of the snapshot in which a Pod's memory lies while the engine is stopped. */
export function hibernationId(podUid: string): string {
  return `hibernated-${podUid}`;
}

/** Id of the snapshot of a template (by UID) at a revision (its blueprint's hash). */
export function templateSnapshotId(templateUid: string, revision: string): string {
  return `template-${templateUid}-${revision}`;
}

/** Whether an id is one of {@link templateSnapshotId}: such a snapshot outlives the Pods made from it. */
export function isTemplateSnapshot(id: string): boolean {
  return id.startsWith('template-');
}

/** Id of the snapshot that a Pod is run for; undefined for any Pod that is not a template's seed. */
export function seedSnapshotId(pod: Pod): string | undefined {
  const owner = controllerOf(pod);
  const revision = pod.metadata.labels?.[TEMPLATE_HASH_LABEL];
  return owner?.kind === 'SandboxTemplate' && revision !== undefined
    ? templateSnapshotId(owner.uid, revision)
    : undefined;
}

/** Snapshots below `directory`; removing one goes through the runtime, since some keep processes alive. */
export function createSnapshotDirectory(directory: string, runtime: ContainerRuntime): SnapshotDirectory {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const pathOf = (id: string) => join(directory, id);
  const recordPathOf = (id: string) => join(directory, `${id}.json`);
  return {
    pathOf,
    exists: (id) => existsSync(pathOf(id)),
    begun: (id) => existsSync(pathOf(id)) || existsSync(`${pathOf(id)}.partial`),
    writeRecord: (id, record) => {
      writeFileSync(`${recordPathOf(id)}.new`, JSON.stringify(record), { mode: 0o600 });
      renameSync(`${recordPathOf(id)}.new`, recordPathOf(id));
    },
    recordOf: (id) =>
      existsSync(recordPathOf(id)) ? (JSON.parse(readFileSync(recordPathOf(id), 'utf8')) as SnapshotRecord) : undefined,
    sizeBytesOf: (id) => readdirSync(pathOf(id)).reduce((sum, file) => sum + statSync(join(pathOf(id), file)).size, 0),
    discard: async (id) => {
      await runtime.discardSnapshot(pathOf(id));
      rmSync(recordPathOf(id), { force: true });
    },
    list: () => [
      ...new Set(readdirSync(directory).map((file) => file.replace(/\.(json\.new|json|partial|discarded)$/, ''))),
    ],
  };
}
