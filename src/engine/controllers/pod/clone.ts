import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import { CLONE_HOOK_ANNOTATION, type Pod } from '../../../kubernetes/index.ts';
import type { SandboxNetwork } from '../../network/index.ts';
import { type ContainerSpec, RuntimeError } from '../../runtime/index.ts';
import { readinessPort } from './container-spec.ts';
import type { LocalPod } from './local-pods.ts';
import type { SnapshotDirectory } from './snapshots.ts';

/** How long a copy may take to answer its hook. */
const HOOK_TIMEOUT_MS = 5000;
/** A copy's listeners are there from its first moment; its network may be a little behind. */
const REFUSED_FOR_MS = 500;
const HOOK_RETRY_MS = 5;
const ENTROPY_BYTES = 32;

/** Hash of what the processes of a container were started with and keep in their memory: a copy of them must be meant to have the same. */
export function processRevision({ command, env, workingDirectory, user }: ContainerSpec): string {
  const sorted = Object.entries(env).toSorted(([left], [right]) => (left < right ? -1 : 1));
  return hashOf([command, sorted, workingDirectory, user]);
}

/** The same of all containers in the memory of a sandbox: the one which holds it, or is alone in it, and those that share it. */
export function sandboxRevision(holder: ContainerSpec, members: readonly ContainerSpec[]): string {
  const named = members.map(
    (spec) => [spec.group?.role === 'member' ? spec.group.name : '', processRevision(spec)] as const,
  );
  return combinedRevision(processRevision(holder), new Map(named));
}

/** A {@link sandboxRevision} by the {@link processRevision} of its containers. */
export function combinedRevision(holder: string, members: ReadonlyMap<string, string>): string {
  if (members.size === 0) return holder;
  const sorted = [...members].toSorted(([left], [right]) => (left < right ? -1 : 1));
  return hashOf([holder, sorted]);
}

function hashOf(parts: unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

/** Port and path of a Pod's clone hook; undefined where it has none. @throws RuntimeError `snapshot_incompatible` for one that can't be read */
export function cloneHookOf(pod: Pod): { port: number; path: string } | undefined {
  const text = pod.metadata.annotations?.[CLONE_HOOK_ANNOTATION];
  if (text === undefined) return undefined;
  const [, digits, path] = /^(?::(\d{1,5}))?(\/[!-~]*)$/.exec(text) ?? [];
  const port = digits === undefined ? pod.spec.containers.map(readinessPort).find(Boolean) : Number(digits);
  if (path === undefined || port === undefined || port < 1 || port > 65_535)
    throw new RuntimeError(
      'snapshot_incompatible',
      `annotation ${CLONE_HOOK_ANNOTATION} is ${JSON.stringify(text)}: "/path" (of the first port of a container) or ":port/path" is wanted`,
    );
  return { port, path };
}

/**
 * Tells the processes of a copy who they are now, and gives them random bytes: generators that were seeded before the snapshot was taken would go on alike in
 * all copies. @throws RuntimeError `start_failed` unless the hook answers with 2xx in time
 */
async function tellClone(pod: Pod, address: string): Promise<void> {
  const hook = cloneHookOf(pod);
  if (hook === undefined) return;
  const { name, namespace, uid } = pod.metadata;
  const hostname = pod.spec.hostname ?? name;
  const entropy = randomBytes(ENTROPY_BYTES).toString('base64');
  const body = JSON.stringify({ name, namespace, uid, hostname, address, entropy });
  const signal = AbortSignal.timeout(HOOK_TIMEOUT_MS);
  const startedAt = performance.now();
  for (;;) {
    try {
      const response = await request(`http://${address}:${hook.port}${hook.path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', connection: 'close' },
        body,
        signal,
      });
      await response.body.dump();
      if (response.statusCode >= 200 && response.statusCode < 300) return;
      throw new RuntimeError('start_failed', `the clone hook answered ${response.statusCode}`);
    } catch (error) {
      if (error instanceof RuntimeError) throw error;
      const refused = (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
      if (!refused || performance.now() - startedAt > REFUSED_FOR_MS)
        throw new RuntimeError('start_failed', `the clone hook gave no answer: ${(error as Error).message}`);
      await delay(HOOK_RETRY_MS);
    }
  }
}

/** What starting a copy needs. */
export interface CopyDependencies {
  network: SandboxNetwork;
  snapshots: SnapshotDirectory;
  /** What the processes in the snapshot must have been started with: see {@link sandboxRevision}. */
  processes: string;
  /** @throws RuntimeError for a snapshot that does not fit this machine, or the Pod */
  requireRestorable(): void;
  restore(): Promise<void>;
  /** Removes what there is of a copy that is of no use. */
  stop(): Promise<void>;
  runFromStart(): Promise<void>;
}

/**
 * Starts a container as a copy of its template's seed; from its command where that does not work, as nobody's state is lost by it. Resolves with what the
 * Pod is to say of it.
 */
export async function startAsCopy(
  pod: Pod,
  spec: ContainerSpec,
  snapshot: string,
  { network, snapshots, processes, requireRestorable, restore, stop, runFromStart }: CopyDependencies,
): Promise<NonNullable<LocalPod['restored']>> {
  const { address } = spec.network;
  const template = snapshots.recordOf(snapshot)?.template;
  try {
    if (template?.namespace !== pod.metadata.namespace)
      throw new RuntimeError('snapshot_corrupt', 'the snapshot of its template is gone');
    requireRestorable();
    if (template?.processes !== processes) {
      // A ConfigMap or Secret was changed: the next members are made from a new snapshot.
      await snapshots.discard(snapshot);
      throw new RuntimeError(
        'snapshot_incompatible',
        'its variables have other values than when the snapshot of its template was taken',
      );
    }
    await restore();
    await tellClone(pod, address);
    return {
      status: 'True',
      reason: 'Cloned',
      message: `Copied from the snapshot of SandboxTemplate ${template.name}`,
    };
  } catch (error) {
    if (!(error instanceof RuntimeError)) throw error;
    await stop();
    await network.attach(spec.id, address);
    await runFromStart();
    return { status: 'False', reason: 'StartedCold', message: error.message };
  }
}
