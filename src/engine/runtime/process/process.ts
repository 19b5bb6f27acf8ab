import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { attachedExec } from '../attached-exec.ts';
import type { Cgroups } from '../cgroups/index.ts';
import { tryCommand } from '../command.ts';
import { cpuMsOfTrees } from '../process-tree.ts';
import { type ContainerRuntime, type ContainerSpec, type ContainerState, RuntimeError } from '../runtime.ts';

/** What is kept of a process, so that an engine that starts again finds it. */
interface ProcessRecord {
  pid: number;
  /** Kernel start time: a pid alone comes back. */
  startTime: string;
  /** Directory of its workspace and exit code; keeps its name over a pause, unlike the container's id. */
  home: string;
}

/** How often a process that is not our child is looked at. */
const POLL_MS = 100;
const RECORD_FILE = 'process.json';
const EXIT_CODE_FILE = 'exit-code';
/** Writes the exit code down, so that it is known even if no engine was there at the end. */
const RECORDING_SHELL = `trap : TERM INT; "$@" & wait $!; code=$?
while kill -0 $! 2>/dev/null; do wait $!; code=$?; done
echo $code > "$EXIT_CODE_FILE.new"; mv "$EXIT_CODE_FILE.new" "$EXIT_CODE_FILE"; exit $code`;

/**
 * Plain processes of this machine behind the interface of a container runtime: for laptops without root or gVisor. IT ISOLATES NOTHING. A pause is SIGSTOP,
 * so a "snapshot" lasts as long as the process does.
 */
export function createProcessRuntime({
  cgroups,
  containersDirectory,
}: {
  cgroups: Cgroups;
  containersDirectory: string;
}): ContainerRuntime {
  const recordsDirectory = join(containersDirectory, 'records');
  const homesDirectory = join(containersDirectory, 'homes');
  for (const directory of [recordsDirectory, homesDirectory]) mkdirSync(directory, { recursive: true, mode: 0o700 });
  const recordPathOf = (id: string) => join(recordsDirectory, `${id}.json`);
  /** Ends of the processes that this engine started, by process id: no need to look at those again and again. */
  const children = new Map<number, Promise<void>>();

  function state(id: string): ContainerState {
    const record = readRecord(recordPathOf(id));
    if (record === undefined) return { state: 'missing' };
    const exitPath = join(record.home, EXIT_CODE_FILE);
    if (existsSync(exitPath)) return { state: 'exited', exitCode: Number(readFileSync(exitPath, 'utf8')) };
    return isSame(record) ? { state: 'running' } : { state: 'exited', exitCode: 137 };
  }

  function runningRecord(id: string): ProcessRecord {
    const record = readRecord(recordPathOf(id));
    if (record === undefined || state(id).state !== 'running')
      throw new RuntimeError('not_running', `process ${id} does not run`);
    return record;
  }

  async function endAll(record: ProcessRecord, gracePeriodMs: number): Promise<void> {
    await end(record, gracePeriodMs);
    await cgroups.remove(basename(record.home));
  }

  async function waitForExit(id: string, signal: AbortSignal): Promise<number> {
    for (;;) {
      const now = state(id);
      if (now.state === 'exited') return now.exitCode;
      if (now.state === 'missing') return 137;
      const child = children.get(readRecord(recordPathOf(id))?.pid ?? 0);
      await (child === undefined ? delay(POLL_MS, undefined, { signal }) : orAborted(child, signal));
    }
  }

  return {
    name: 'process',
    durableSnapshots: false,
    sharedSandboxes: false,
    limitProblems: cgroups.problems,
    compatibility: { runtime: 'process', cpuFeatures: [] },
    description: 'plain processes, which isolates nothing',

    run: async (spec) => {
      const home = join(homesDirectory, spec.id);
      const workspace = join(home, 'workspace');
      rmSync(home, { recursive: true, force: true });
      mkdirSync(workspace, { recursive: true, mode: 0o700 });
      const joining = await cgroups.make(spec.id, spec.limits);
      const output = openSync(spec.logPath, 'a', 0o600);
      const child = spawn(
        '/bin/sh',
        ['-c', joining + RECORDING_SHELL, 'sh', ...spec.command.map((argument) => hostPath(spec, argument))],
        {
          detached: true,
          stdio: ['ignore', output, output],
          cwd: workspace,
          env: { ...hostEnvironment(spec, workspace), EXIT_CODE_FILE: join(home, EXIT_CODE_FILE) },
        },
      );
      closeSync(output);
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', (error) => reject(new RuntimeError('start_failed', error.message)));
      });
      child.unref();
      const pid = child.pid as number;
      const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      children.set(pid, exited);
      exited.then(() => {
        if (children.get(pid) === exited) children.delete(pid);
      });
      writeRecord(recordPathOf(spec.id), { pid, startTime: startTimeOf(pid) ?? '', home });
    },

    checkpoint: async (id, directory, options = {}) => {
      if (options.leaveRunning === true)
        throw new RuntimeError(
          'checkpoint_failed',
          'the process runtime has no copy of a running process to give; use --runtime gvisor for snapshots',
        );
      if (existsSync(directory)) return { sizeBytes: 0 };
      const record = readRecord(recordPathOf(id));
      if (record === undefined || !isSame(record)) throw new RuntimeError('not_running', `process ${id} does not run`);
      signalGroup(record.pid, 'SIGSTOP');
      try {
        const partial = `${directory}.partial`;
        mkdirSync(partial, { recursive: true, mode: 0o700 });
        writeRecord(join(partial, RECORD_FILE), record);
        renameSync(partial, directory);
      } catch (error) {
        signalGroup(record.pid, 'SIGCONT');
        throw new RuntimeError('checkpoint_failed', (error as Error).message);
      }
      rmSync(recordPathOf(id), { force: true });
      return { sizeBytes: 0 };
    },

    restore: async (spec, directory) => {
      const record = readRecord(join(directory, RECORD_FILE));
      if (record === undefined || !isSame(record))
        throw new RuntimeError(
          'snapshot_corrupt',
          `snapshot ${basename(directory)} can't be used: its stopped process is gone`,
        );
      writeRecord(recordPathOf(spec.id), record);
      signalGroup(record.pid, 'SIGCONT');
    },

    discardSnapshot: async (directory) => {
      const record = readRecord(join(directory, RECORD_FILE));
      const inUse =
        record !== undefined &&
        readdirSync(recordsDirectory).some((file) => readRecord(join(recordsDirectory, file))?.pid === record.pid);
      if (record !== undefined && !inUse) await endAll(record, 0);
      rmSync(directory, { recursive: true, force: true });
    },

    state: async (id) => state(id),
    wait: waitForExit,

    wasOutOfMemory: (id) => {
      const record = readRecord(recordPathOf(id));
      return record !== undefined && cgroups.wasOutOfMemory(basename(record.home));
    },

    stop: async (id, gracePeriodMs) => {
      const record = readRecord(recordPathOf(id));
      if (record === undefined) await cgroups.remove(id);
      else await endAll(record, gracePeriodMs);
      rmSync(recordPathOf(id), { force: true });
    },

    exec: async (id, command, options = {}) => {
      const record = runningRecord(id);
      const [program = '', ...rest] = command;
      const input = options.stdin === undefined ? {} : { stdin: options.stdin };
      return await tryCommand(program, rest, {
        timeoutMs: options.timeoutMs ?? 60_000,
        failureCode: 'start_failed',
        workingDirectory: join(record.home, 'workspace'),
        ...input,
      });
    },

    cpuMs: (ids) => {
      const pids = ids.map((id) => (state(id).state === 'running' ? readRecord(recordPathOf(id))?.pid : undefined));
      const used = cpuMsOfTrees(pids.map((pid) => pid ?? 0));
      return pids.map((pid, index) => (pid === undefined ? undefined : used[index]));
    },

    attachedExec: async (id, command, { terminal }) => {
      const record = runningRecord(id);
      return attachedExec(command, {
        terminal,
        environment: environmentOf(record.pid),
        workingDirectory: join(record.home, 'workspace'),
      });
    },

    connect: async (id, address, port) => {
      runningRecord(id);
      const socket = connect({ host: address, port, allowHalfOpen: true });
      await once(socket, 'connect');
      return socket;
    },

    list: async () => {
      const records = readdirSync(recordsDirectory);
      // A process that was paused keeps its group, which has the name of its home.
      const homes = new Set(readdirSync(homesDirectory));
      return [...records.map((file) => basename(file, '.json')), ...cgroups.list().filter((id) => !homes.has(id))];
    },
    close: () => cgroups.close(),
  };
}

/** Waits for an end, or throws once the signal aborts. */
async function orAborted(end: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    await Promise.race([end, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** Ends a process group and removes what it kept on disk. */
async function end(record: ProcessRecord, gracePeriodMs: number): Promise<void> {
  if (isSame(record)) {
    signalGroup(record.pid, 'SIGCONT');
    if (gracePeriodMs > 0) signalGroup(record.pid, 'SIGTERM');
    const deadline = performance.now() + gracePeriodMs;
    while (isSame(record) && performance.now() < deadline) await delay(10);
    signalGroup(record.pid, 'SIGKILL');
    while (isSame(record)) await delay(5);
  }
  rmSync(record.home, { recursive: true, force: true });
}

function readRecord(path: string): ProcessRecord | undefined {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as ProcessRecord) : undefined;
}

function writeRecord(path: string, record: ProcessRecord): void {
  writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** A path below a mount, as the host has it. */
function hostPath(spec: ContainerSpec, text: string): string {
  const mount = spec.root.mounts.find(
    ({ destination, source }) => source !== undefined && (text === destination || text.startsWith(`${destination}/`)),
  );
  return mount?.source === undefined ? text : mount.source + text.slice(mount.destination.length);
}

function hostEnvironment(spec: ContainerSpec, workspace: string): { [name: string]: string } {
  const translated = Object.entries(spec.env).map(
    ([name, value]) =>
      [
        name,
        value
          .split(':')
          .map((part) => hostPath(spec, part))
          .join(':'),
      ] as const,
  );
  return {
    ...Object.fromEntries(translated),
    PATH: [Object.fromEntries(translated).PATH, process.env.PATH].filter((part) => part !== undefined).join(':'),
    HOME: workspace,
    HOST: spec.network.address,
    SANDBOX_ADDRESS: spec.network.address,
    SANDBOX_WORKSPACE: workspace,
    SANDBOX_ROUTER_BUSY_SOCKET: join(dirname(workspace), 'busy.sock'),
  };
}

/** Environment that a process was started with; this one's where the system doesn't tell. */
function environmentOf(pid: number): NodeJS.ProcessEnv {
  try {
    const entries = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .filter((entry) => entry.includes('='));
    return Object.fromEntries(
      entries.map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
    );
  } catch {
    return process.env;
  }
}

function startTimeOf(pid: number): string | undefined {
  try {
    const [, state, ...fields] = /^\d+ \(.*\) (\S) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
    return state === 'Z' || state === 'X' ? undefined : fields[0]?.split(' ')[18];
  } catch {
    return undefined;
  }
}

function isSame(record: ProcessRecord): boolean {
  const startTime = startTimeOf(record.pid);
  return startTime !== undefined && (record.startTime === '' || startTime === record.startTime);
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone already.
  }
}
