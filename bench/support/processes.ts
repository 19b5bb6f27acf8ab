import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { cpus } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

/** Clock ticks a second of /proc/<pid>/stat; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** CPU time, user and system, that a process and its threads have used, in microseconds. Children aren't counted. */
export function cpuTimeUs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return ((Number(fields[11]) + Number(fields[12])) * 1_000_000) / TICKS_PER_SECOND;
}

/** Resident memory of a process in bytes. */
export function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}

/** A process and its children. */
export function familyOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return [pid, ...(children === '' ? [] : children.split(' ').map(Number))];
}

/** Binds a process with all its threads to one core, where there is one to choose. */
export function onCore(core: number, pid: number): void {
  if (cpus().length > core) execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', String(core), String(pid)]);
}

/** Binds all threads of a process but its main one to a core. */
export function helpersOnCore(core: number, pid: number): void {
  if (cpus().length <= core) return;
  for (const thread of readdirSync(`/proc/${pid}/task`).filter((each) => Number(each) !== pid))
    execFileSync('taskset', ['--cpu-list', '--pid', String(core), thread]);
}

/** Lets the main thread of a process run as soon as it can, whatever else the machine has to do. False where that may not be: it takes `chrt` and root. */
export function beforeOthers(pid: number): boolean {
  return spawnSync('chrt', ['--fifo', '--pid', '1', String(pid)]).status === 0;
}

const REAL_TIME_LIMIT = '/proc/sys/kernel/sched_rt_runtime_us';

/**
 * Lifts the kernel's limit on what {@link beforeOthers} may take of a core: 950 ms of each second, after which it stands still for 50. Returns what sets it back,
 * which a signal that ends this process does as well; undefined where that may not be.
 */
export function liftRealTimeLimit(): (() => void) | undefined {
  let before: string;
  try {
    before = readFileSync(REAL_TIME_LIMIT, 'utf8');
    writeFileSync(REAL_TIME_LIMIT, '-1');
  } catch {
    return undefined;
  }
  const restore = () => {
    writeFileSync(REAL_TIME_LIMIT, before);
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  };
  const onSignal = (signal: NodeJS.Signals) => {
    restore();
    process.kill(process.pid, signal);
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  return restore;
}

/** A process under measurement. */
export interface Measured {
  pid: number;
  /** What it printed on standard output. */
  output(): string;
  stop(): Promise<unknown>;
}

/** Starts a process and waits until it listens on the port. @throws Error with its output when it ends first */
export async function startMeasured(
  command: string,
  commandLine: string[],
  port: number,
  environment: Record<string, string> = {},
): Promise<Measured> {
  const child: ChildProcess = spawn(command, commandLine, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const deadline = performance.now() + 60_000;
  while (!(await accepts(port))) {
    if (child.exitCode !== null) throw new Error(`${command} ended before it listened on ${port}:\n${output}`);
    if (performance.now() > deadline) throw new Error(`${command} did not listen on ${port}:\n${output}`);
    await delay(20);
  }
  return {
    pid: child.pid as number,
    output: () => output,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
