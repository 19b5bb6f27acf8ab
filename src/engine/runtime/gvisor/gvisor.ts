import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Cgroups } from '../cgroups/index.ts';
import { runCommand } from '../command.ts';
import { CONTAINER_ID_LENGTH } from '../container-id.ts';
import { unmountBelow } from '../mounts.ts';
import { cpuMsOfTrees } from '../process-tree.ts';
import { type ContainerRuntime, type ContainerSpec, type ContainerState, RuntimeError } from '../runtime.ts';
import { writeBundle } from './bundle.ts';
import { cpuFeatures } from './cpu-features.ts';
import { execThroughRunsc } from './exec.ts';
import { keptState, sentryPid } from './kept-state.ts';
import { connectThroughRunsc } from './port.ts';
import { memoryOfContainer, untilEarlierStartsEnd } from './processes.ts';
import { callRunsc, globalFlags, RUNSC_TIMEOUT_MS, type Runsc, startWithRunsc, tryRunsc } from './runsc.ts';
import {
  CHECKPOINT_SCRIPT,
  discardPartial,
  estimateSnapshotBytes,
  isBeingWritten,
  PARTIAL_SUFFIX,
  requireSpace,
  verifySnapshot,
} from './snapshot.ts';
import { createSnapshotRemoval } from './snapshot-removal.ts';

/** What the gVisor runtime needs. `containersDirectory` holds one directory a container: bundle, runsc's messages, exit code. */
export interface GvisorOptions {
  cgroups: Cgroups;
  runsc: Runsc;
  version: string;
  containersDirectory: string;
}

/** `runsc wait` takes some 20 ms of CPU to start: just after a restore a caller is waiting for them. */
const WAIT_AFTER_RESTORE_MS = 250;

/** Memory of gVisor itself, its kernel and its file server, which is not for the limits of a Pod to pay: what a RuntimeClass calls overhead. */
const OVERHEAD_BYTES = 64 * 2 ** 20;

/** Where a container lies. */
interface Place {
  bundle: string;
  /** What runsc itself says. */
  messages: string;
  own: Runsc;
}

/** A container of this process: who waits for its end. */
interface Attached {
  exited: Promise<number>;
  exitCode?: number;
}

/**
 * Containers in gVisor. Sentry and gofer live in sessions of their own and outlive the engine, so {@link ContainerRuntime.list} and
 * {@link ContainerRuntime.state} find them after a restart.
 */
export function createGvisorRuntime({ cgroups, runsc, version, containersDirectory }: GvisorOptions): ContainerRuntime {
  for (const directory of [containersDirectory, runsc.rootDirectory, runsc.filestoreDirectory])
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  const attached = new Map<string, Attached>();
  const prepared = new Set<string>();
  const removal = createSnapshotRemoval();
  const earlierStarts = untilEarlierStartsEnd(runsc);
  let reservedBytes = 0;

  const directoryOf = (id: string) => join(containersDirectory, id);
  /** Output of a container that waits: it becomes the log of whoever is restored into it. */
  const outputOf = (id: string) => join(directoryOf(id), 'output');
  const filestoreOf = (id: string) => join(runsc.filestoreDirectory, id);
  /** Each container's root files in a directory of their own: measured before a checkpoint, removed with the container. */
  const forContainer = (id: string): Runsc => ({ ...runsc, filestoreDirectory: filestoreOf(id) });

  function layOut(spec: ContainerSpec): Place {
    rmSync(directoryOf(spec.id), { recursive: true, force: true });
    mkdirSync(filestoreOf(spec.id), { recursive: true, mode: 0o700 });
    writeBundle(directoryOf(spec.id), spec);
    return placeOf(spec.id);
  }

  function placeOf(id: string): Place {
    const bundle = directoryOf(id);
    return { bundle, messages: join(bundle, 'runsc.json'), own: forContainer(id) };
  }

  /** Sentry and gofers start in the cgroup of their sandbox, where it has one. */
  async function joinCgroup({ id, limits, group }: ContainerSpec): Promise<string> {
    if (group?.role === 'member') return cgroups.joining(group.sandbox);
    if (limits?.memoryBytes === undefined) return await cgroups.make(id, limits);
    return await cgroups.make(id, { ...limits, memoryBytes: limits.memoryBytes + OVERHEAD_BYTES });
  }

  /** `runsc wait` is the only one who learns the exit code, so one runs beside every container. */
  function attach(id: string, afterMs = 0): Attached {
    const known = attached.get(id);
    if (known !== undefined) return known;
    const entry: Attached = { exited: waitForExit(id, afterMs).then((code) => recordExit(id, code)) };
    attached.set(id, entry);
    return entry;
  }

  async function waitForExit(id: string, afterMs: number): Promise<number> {
    if (afterMs > 0) await delay(afterMs, undefined, { ref: false });
    for (;;) {
      const result = await tryRunsc(runsc, ['wait', id], 2 ** 31 - 1);
      const status = /"exitStatus":\s*(\d+)/.exec(result.stdout.toString())?.[1];
      if (status !== undefined) return Number(status);
      const state = await keptState(runsc, id);
      if (state === undefined || state.status === 'stopped' || !state.alive) return 137;
      await delay(50);
    }
  }

  function recordExit(id: string, code: number): number {
    const entry = attached.get(id);
    if (entry !== undefined) {
      entry.exitCode = code;
      if (existsSync(directoryOf(id))) writeFileSync(join(directoryOf(id), 'exit-code'), String(code));
    }
    return code;
  }

  async function remove(id: string): Promise<void> {
    attached.delete(id);
    prepared.delete(id);
    await tryRunsc(runsc, ['delete', '--force', id]);
    await cgroups.remove(id);
    rmSync(directoryOf(id), { recursive: true, force: true });
    rmSync(filestoreOf(id), { recursive: true, force: true });
  }

  /** A container that an earlier engine already began to checkpoint: its end decides. */
  async function finishEarlierCheckpoint(id: string, directory: string): Promise<boolean> {
    while (!existsSync(directory) && isBeingWritten(directory)) await delay(20);
    if (!existsSync(directory)) {
      discardPartial(directory);
      return false;
    }
    await remove(id);
    return true;
  }

  async function restoreOne(spec: ContainerSpec, directory: string): Promise<void> {
    const waits = prepared.delete(spec.id);
    if (waits) renameSync(outputOf(spec.id), spec.logPath);
    const { bundle, messages, own } = waits ? placeOf(spec.id) : layOut(spec);
    const flags = [
      'restore',
      '--detach',
      // runsc loads the pages of a compressed image only as a whole.
      ...(existsSync(join(directory, 'pages.img')) ? ['--background'] : []),
      `--bundle=${bundle}`,
      `--image-path=${directory}`,
      spec.id,
    ];
    const joining = waits ? '' : await joinCgroup(spec);
    await startWithRunsc(own, 'snapshot_corrupt', flags, spec.logPath, messages, joining);
    attach(spec.id, WAIT_AFTER_RESTORE_MS);
  }

  return {
    name: 'gvisor',
    durableSnapshots: true,
    sharedSandboxes: true,
    limitProblems: cgroups.problems,
    compatibility: { runtime: `runsc ${version}`, cpuFeatures: cpuFeatures() },
    description: `gVisor (runsc ${version}, ${runsc.platform})`,

    run: async (spec) => {
      const { bundle, messages, own } = layOut(spec);
      try {
        const create = ['create', `--bundle=${bundle}`, spec.id];
        await startWithRunsc(own, 'start_failed', create, spec.logPath, messages, await joinCgroup(spec));
        if (spec.group?.role === 'member') {
          // Into a sandbox that runs, it is `start` that takes the container's output along, and only afterwards can it be waited for.
          await startWithRunsc(own, 'start_failed', ['start', spec.id], spec.logPath, messages);
          attach(spec.id);
          return;
        }
        attach(spec.id);
        await callRunsc(own, 'start_failed', ['start', spec.id]);
      } catch (error) {
        await remove(spec.id);
        throw error;
      }
    },

    prepare: async (spec) => {
      const { bundle, messages, own } = layOut(spec);
      try {
        const create = ['create', `--bundle=${bundle}`, spec.id];
        await startWithRunsc(own, 'start_failed', create, outputOf(spec.id), messages, await joinCgroup(spec));
        prepared.add(spec.id);
        return { memoryBytes: memoryOfContainer(runsc, spec.id) };
      } catch (error) {
        await remove(spec.id);
        throw error;
      }
    },

    restore: async (spec, directory, members = []) => {
      verifySnapshot(directory);
      try {
        await restoreOne(spec, directory);
        // The sandbox goes on once all that were in it are there.
        for (const member of members) await restoreOne(member, directory);
      } catch (error) {
        for (const { id } of [spec, ...members]) await remove(id);
        throw error;
      }
    },

    checkpoint: async (id, directory, { leaveRunning = false, compress = false, members = [] } = {}) => {
      if (existsSync(directory) || existsSync(directory + PARTIAL_SUFFIX)) {
        if (await finishEarlierCheckpoint(id, directory)) return verifySnapshot(directory);
      }
      const state = await keptState(runsc, id);
      if (state?.status !== 'running' || !state.alive)
        throw new RuntimeError('not_running', `container ${id} does not run`);
      mkdirSync(dirname(directory), { recursive: true, mode: 0o700 });
      const estimateBytes = estimateSnapshotBytes(state.sentryPid, [id, ...members].map(filestoreOf));
      requireSpace(dirname(directory), estimateBytes, reservedBytes);
      reservedBytes += estimateBytes;
      const partial = directory + PARTIAL_SUFFIX;
      try {
        mkdirSync(partial, { mode: 0o700 });
        const checkpoint = [
          ...cgroups.withoutMemoryBound(id),
          runsc.path,
          ...globalFlags(forContainer(id)),
          'checkpoint',
          `--image-path=${partial}`,
          `--compression=${compress ? 'flate-best-speed' : 'none'}`,
          ...(leaveRunning ? ['--leave-running'] : []),
          id,
        ];
        const script = ['-c', CHECKPOINT_SCRIPT, 'checkpoint', partial, directory, ...checkpoint];
        await runCommand('/bin/sh', script, { timeoutMs: RUNSC_TIMEOUT_MS, failureCode: 'checkpoint_failed' });
      } catch (error) {
        discardPartial(directory);
        throw error;
      } finally {
        reservedBytes -= estimateBytes;
      }
      if (!leaveRunning) for (const each of [id, ...members]) await remove(each);
      return verifySnapshot(directory);
    },

    discardSnapshot: removal.discard,

    state: async (id): Promise<ContainerState> => {
      await earlierStarts;
      const known = attached.get(id);
      if (known?.exitCode !== undefined) return { state: 'exited', exitCode: known.exitCode };
      const state = await keptState(runsc, id);
      // One that was made and not started never will be: whoever was to start it died in between.
      if (state?.status === 'created' || state?.status === 'creating') return { state: 'missing' };
      if (state !== undefined && state.status !== 'stopped' && state.alive) {
        attach(id);
        return { state: 'running' };
      }
      const record = join(directoryOf(id), 'exit-code');
      if (existsSync(record)) return { state: 'exited', exitCode: Number(readFileSync(record, 'utf8')) };
      return existsSync(directoryOf(id)) ? { state: 'exited', exitCode: 137 } : { state: 'missing' };
    },

    wait: (id, signal) => {
      const { promise, reject, resolve } = Promise.withResolvers<number>();
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      attach(id).exited.then(resolve, reject);
      return promise;
    },

    wasOutOfMemory: cgroups.wasOutOfMemory,

    stop: async (id, gracePeriodMs) => {
      const entry = attached.get(id);
      if (entry !== undefined && entry.exitCode === undefined && gracePeriodMs > 0) {
        await tryRunsc(runsc, ['kill', id, 'TERM'], 10_000);
        await Promise.race([entry.exited, delay(gracePeriodMs, undefined, { ref: false })]);
      }
      await remove(id);
    },

    exec: async (id, command, options = {}) => {
      const result = await tryRunsc(
        runsc,
        ['exec', id, ...command],
        options.timeoutMs ?? RUNSC_TIMEOUT_MS,
        options.stdin,
      );
      return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
    },

    attachedExec: (id, command, { terminal }) =>
      execThroughRunsc(runsc, join(directoryOf(id), `exec-${randomUUID()}.json`), id, command, terminal),

    connect: (id, _address, port) => connectThroughRunsc(runsc, id, port),

    cpuMs: (ids) => {
      const pids = ids.map((id) => sentryPid(runsc, id));
      const used = cpuMsOfTrees(pids.map((pid) => pid ?? 0));
      return pids.map((pid, index) => (pid === undefined ? undefined : used[index]));
    },

    list: async () => {
      await earlierStarts;
      const known = new Set([...readdirSync(containersDirectory), ...cgroups.list()]);
      for (const file of readdirSync(runsc.rootDirectory)) {
        const id = /^([0-9a-f]+)_sandbox:/.exec(file)?.[1];
        if (id?.length === CONTAINER_ID_LENGTH) known.add(id);
      }
      return [...known];
    },

    close: async () => {
      await removal.finish();
      await cgroups.close();
      if (readdirSync(runsc.rootDirectory).some((file) => file.endsWith('.state'))) return;
      unmountBelow(runsc.rootDirectory);
      rmSync(runsc.rootDirectory, { recursive: true, force: true });
    },
  };
}
