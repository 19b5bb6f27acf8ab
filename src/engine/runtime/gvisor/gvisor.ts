import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Cgroups } from '../cgroups/index.ts';
import { runCommand } from '../command.ts';
import { CONTAINER_ID_LENGTH } from '../container-id.ts';
import { unmountBelow } from '../mounts.ts';
import { cpuMsOfTrees } from '../process-tree.ts';
import { type ContainerRuntime, type ContainerSpec, type ContainerState, RuntimeError } from '../runtime.ts';
import { cpuFeatures } from './cpu-features.ts';
import { execThroughRunsc } from './exec.ts';
import { keptState, processesOf } from './kept-state.ts';
import { createPlaces } from './places.ts';
import { connectThroughRunsc } from './port.ts';
import { memoryOfContainer, untilEarlierCallsEnd } from './processes.ts';
import {
  callRunsc,
  failureOf,
  globalFlags,
  messageFlags,
  RUNSC_TIMEOUT_MS,
  type Runsc,
  type RunscStart,
  startWithRunsc,
  tryRunsc,
} from './runsc.ts';
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
import { startWaitingRestore, WAITING_RESTORE_BYTES, type WaitingRestore } from './waiting-restore.ts';

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
  const prepared = new Map<string, WaitingRestore>();
  const removal = createSnapshotRemoval();
  const earlierCalls = untilEarlierCallsEnd(runsc);
  let reservedBytes = 0;

  const places = createPlaces(runsc, containersDirectory);

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
      const { bundle, exitCode } = places.of(id);
      if (existsSync(bundle)) writeFileSync(exitCode, String(code));
    }
    return code;
  }

  async function remove(id: string): Promise<void> {
    attached.delete(id);
    await prepared.get(id)?.cancel();
    prepared.delete(id);
    await tryRunsc(runsc, ['delete', '--force', id]);
    await cgroups.remove(id);
    places.remove(id);
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
    const { id, logPath } = spec;
    const waiting = prepared.get(id);
    prepared.delete(id);
    if (waiting !== undefined) renameSync(places.of(id).output, logPath);
    const { bundle, messages, image, own } = waiting === undefined ? places.layOut(spec) : places.of(id);
    // runsc loads the pages of a compressed image only as a whole.
    const background = existsSync(join(directory, 'pages.img'));
    if (waiting?.waits() && background) {
      symlinkSync(directory, image);
      const exitCode = await waiting.go(RUNSC_TIMEOUT_MS);
      if (exitCode !== 0) throw failureOf('restore', 'snapshot_corrupt', exitCode, messages);
    } else {
      await waiting?.cancel();
      await startWithRunsc(own, {
        ...start('snapshot_corrupt', restoreCommand(bundle, directory, id, background), spec),
        joining: waiting === undefined ? await joinCgroup(spec) : '',
        beside: waiting === undefined ? spec.network.making : undefined,
      });
    }
    attach(id, WAIT_AFTER_RESTORE_MS);
  }

  /** A call that starts a container, whose output goes to its log. */
  function start(failureCode: string, commandLine: string[], { id, logPath }: ContainerSpec): RunscStart {
    const { messages, lock } = places.of(id);
    return { failureCode, commandLine, logPath, messagesPath: messages, lockPath: lock };
  }

  function restoreCommand(bundle: string, image: string, id: string, background: boolean): string[] {
    const flags = ['--detach', ...(background ? ['--background'] : [])];
    return ['restore', ...flags, `--bundle=${bundle}`, `--image-path=${image}`, id];
  }

  return {
    name: 'gvisor',
    durableSnapshots: true,
    sharedSandboxes: true,
    limitProblems: cgroups.problems,
    compatibility: { runtime: `runsc ${version}`, cpuFeatures: cpuFeatures() },
    description: `gVisor (runsc ${version}, ${runsc.platform})`,

    run: async (spec) => {
      const { bundle, own } = places.layOut(spec);
      try {
        const create = ['create', `--bundle=${bundle}`, spec.id];
        await startWithRunsc(own, { ...start('start_failed', create, spec), joining: await joinCgroup(spec) });
        if (spec.group?.role === 'member') {
          // Into a sandbox that runs, it is `start` that takes the container's output along, and only afterwards can it be waited for.
          await startWithRunsc(own, start('start_failed', ['start', spec.id], spec));
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
      const { bundle, messages, image, output, lock, own } = places.layOut(spec);
      try {
        const create = ['create', `--bundle=${bundle}`, spec.id];
        const waits = { ...spec, logPath: output };
        await startWithRunsc(own, { ...start('start_failed', create, waits), joining: await joinCgroup(spec) });
        const restore = restoreCommand(bundle, image, spec.id, true);
        const waiting = startWaitingRestore({
          lockPath: lock,
          outputPath: output,
          command: [own.path, ...globalFlags(own), ...messageFlags(messages), ...restore],
        });
        prepared.set(spec.id, waiting);
        return { memoryBytes: memoryOfContainer(runsc, spec.id) + WAITING_RESTORE_BYTES };
      } catch (error) {
        await remove(spec.id);
        throw error;
      }
    },

    restore: async (spec, directory, members = []) => {
      verifySnapshot(directory);
      // Before anything else is begun, as nothing has to be undone then.
      if (prepared.has(spec.id) && (await keptState(runsc, spec.id))?.alive !== true)
        throw new RuntimeError('start_failed', 'the container that waited has ended');
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
      const estimateBytes = estimateSnapshotBytes(
        state.sentryPid,
        [id, ...members].map((each) => places.of(each).filestore),
      );
      requireSpace(dirname(directory), estimateBytes, reservedBytes);
      reservedBytes += estimateBytes;
      const partial = directory + PARTIAL_SUFFIX;
      try {
        mkdirSync(partial, { mode: 0o700 });
        const checkpoint = [
          ...cgroups.withoutMemoryBound(id),
          runsc.path,
          ...globalFlags(places.of(id).own),
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
      await earlierCalls;
      const known = attached.get(id);
      if (known?.exitCode !== undefined) return { state: 'exited', exitCode: known.exitCode };
      const state = await keptState(runsc, id);
      // One that was made and not started never will be: whoever was to start it died in between.
      if (state?.status === 'created' || state?.status === 'creating') return { state: 'missing' };
      if (state !== undefined && state.status !== 'stopped' && state.alive) {
        attach(id);
        return { state: 'running' };
      }
      const { bundle, exitCode } = places.of(id);
      if (existsSync(exitCode)) return { state: 'exited', exitCode: Number(readFileSync(exitCode, 'utf8')) };
      return existsSync(bundle) ? { state: 'exited', exitCode: 137 } : { state: 'missing' };
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
      execThroughRunsc(runsc, join(places.of(id).bundle, `exec-${randomUUID()}.json`), id, command, terminal),

    connect: (id, _address, port) => connectThroughRunsc(runsc, id, port),

    cpuMs: (ids) => {
      const pids = ids.map((id) => processesOf(runsc, id)?.sentryPid);
      const used = cpuMsOfTrees(pids.map((pid) => pid ?? 0));
      return pids.map((pid, index) => (pid === undefined ? undefined : used[index]));
    },

    list: async () => {
      await earlierCalls;
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
