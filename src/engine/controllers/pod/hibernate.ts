import type { Pod } from '../../../kubernetes/index.ts';
import type { SandboxNetwork } from '../../network/index.ts';
import type { ContainerRuntime } from '../../runtime/index.ts';
import type { ObjectCache } from '../object-cache.ts';
import { type LocalPod, localKey } from './local-pods.ts';
import type { PodRecords } from './pod-record.ts';
import type { PodRunner } from './pod-runner.ts';
import { hibernationId, type SnapshotDirectory } from './snapshots.ts';

/** What hibernation works on. */
export interface HibernationOptions {
  pods: ObjectCache<Pod>;
  locals: Map<string, LocalPod>;
  runner: PodRunner;
  records: PodRecords;
  snapshots: SnapshotDirectory;
  runtime: ContainerRuntime;
  network: SandboxNetwork;
  writeStatus(pod: Pod, local: LocalPod): Promise<unknown>;
  close(): void;
}

/** Checkpoints at once on this many Pods: more only fight for the disk. */
const CONCURRENCY = 2;

/**
 * Puts every running Pod into a snapshot of its own, so that the next start finds it as it was, and leaves no process, namespace or link behind. Returns a line
 * for each Pod whose memory could not be kept.
 */
export async function hibernateAll(options: HibernationOptions): Promise<string[]> {
  const problems: string[] = [];
  const waiting = [...options.locals.values()];
  const worker = async () => {
    for (let local = waiting.pop(); local !== undefined; local = waiting.pop()) {
      const problem = await hibernate(local, options).catch((error: Error) => error.message);
      if (problem !== undefined) problems.push(`${localKey(local)}: ${problem}`);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  options.close();
  if (!options.runtime.durableSnapshots) for (const id of options.snapshots.list()) await options.snapshots.discard(id);
  return problems;
}

async function hibernate(local: LocalPod, options: HibernationOptions): Promise<string | undefined> {
  const { runner, runtime, network, snapshots } = options;
  const { record } = local;
  const pod = options.pods.get(localKey(local));
  clearTimeout(local.restartTimer);
  let problem: string | undefined;
  if (local.container.phase === 'running' && pod !== undefined && runtime.durableSnapshots) {
    await runner.checkpoint(pod, local, hibernationId(record.uid));
    if (local.checkpoint?.status !== 'True') problem = local.checkpoint?.message ?? 'no snapshot';
    delete local.checkpoint;
  }
  if (!snapshots.exists(hibernationId(record.uid))) {
    if (local.container.phase !== 'stopped-for-snapshot') await runner.stop(local);
    await network.detach(record.containerId);
  }
  clearTimeout(local.restartTimer);
  if (local.container.phase === 'stopped-for-snapshot' && !snapshots.exists(hibernationId(record.uid))) return problem;
  local.container = { phase: 'waiting', reason: 'Hibernated', message: 'the engine was stopped' };
  if (pod !== undefined) await options.writeStatus(pod, local);
  return problem;
}
