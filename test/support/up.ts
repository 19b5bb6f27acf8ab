import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** A running `sandbox-router up` and what its banner said. */
export interface RunningUp {
  url: string;
  adminUrl: string;
  stateDirectory: string;
  kubeconfig: string;
  token: string;
  /** Everything printed so far. */
  output(): string;
  /** The process itself, not its launcher. */
  pid: number;
  /** Ctrl-C, then wait for the end. */
  interrupt(): Promise<void>;
  /** kill -9 of engine and router, which are one process. */
  kill(): Promise<void>;
  request(path: string, init?: RequestInit): Promise<Response>;
  kubectl(...commandLine: string[]): Promise<string>;
  /** Applies objects as one list; what is wrong in them is for the server to say. */
  apply(...items: object[]): Promise<void>;
}

/** How to start it; `directory` is a checkout. */
export interface UpOptions {
  directory: string;
  stateDirectory?: string;
  runtime?: 'gvisor' | 'process' | 'auto';
  /** Command line before the flags; `npm start --` by default. */
  command?: string[];
  environment?: Record<string, string>;
  timeoutMs?: number;
}

/** Starts engine and router, and kills them after that time, whether or not they are ready. The command is to be the program itself. */
export async function killWhileStarting(options: UpOptions, afterMs: number): Promise<void> {
  const child = spawnUp(options);
  for (const stream of [child.stdout, child.stderr]) stream?.resume();
  await delay(afterMs);
  await end(child, () => child.kill('SIGKILL'));
}

function stateDirectoryOf(options: UpOptions): string {
  return options.stateDirectory ?? join(options.directory, '.sandbox-router');
}

function spawnUp(options: UpOptions) {
  const [command = 'npm', ...first] = options.command ?? ['npm', 'start', '--'];
  const flags = [
    '--listen',
    '127.0.0.1:0',
    '--admin-listen',
    '127.0.0.1:0',
    '--engine-listen',
    '127.0.0.1:0',
    '--state-dir',
    stateDirectoryOf(options),
  ];
  return spawn(command, [...first, ...flags, '--runtime', options.runtime ?? 'gvisor'], {
    cwd: options.directory,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...options.environment },
  });
}

/** Starts the engine and the router on free ports and resolves once the banner is complete. @throws Error with the output if it ends first */
export async function startUp(options: UpOptions): Promise<RunningUp> {
  const stateDirectory = stateDirectoryOf(options);
  const child = spawnUp(options);
  let output = '';
  const banner = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (/Try next/.test(output)) banner.resolve();
    });
  child.once('exit', (code, signal) =>
    banner.reject(new Error(`"up" ended with ${code ?? signal} before it was ready:\n${output}`)),
  );
  const timer = setTimeout(
    () => banner.reject(new Error(`"up" was not ready in time:\n${output}`)),
    options.timeoutMs ?? 120_000,
  );
  try {
    await banner.promise;
  } catch (error) {
    signalGroup(child, 'SIGKILL');
    throw error;
  } finally {
    clearTimeout(timer);
  }
  const url = bannerValue(output, 'router');
  const adminUrl = bannerValue(output, 'admin');
  const token = readFileSync(join(stateDirectory, 'token'), 'utf8').trim();
  const kubeconfig = join(stateDirectory, 'kubeconfig');
  const pid = Number(readFileSync(join(stateDirectory, 'engine', 'pid'), 'utf8').split(' ')[0]);
  const kubectl = async (...commandLine: string[]): Promise<string> => {
    const { stdout } = await execute('kubectl', ['--kubeconfig', kubeconfig, ...commandLine], {
      maxBuffer: 64 << 20,
    });
    return stdout;
  };
  return {
    url,
    adminUrl,
    stateDirectory,
    kubeconfig,
    token,
    pid,
    output: () => output,
    interrupt: () => end(child, () => process.kill(pid, 'SIGINT')),
    kill: () => end(child, () => process.kill(pid, 'SIGKILL')),
    request: (path, init = {}) => {
      const headers = new Headers(init.headers);
      if (!headers.has('authorization')) headers.set('authorization', `Bearer ${token}`);
      return fetch(url + path, { ...init, headers });
    },
    kubectl,
    apply: async (...items) => {
      const path = join(stateDirectory, 'manifest.json');
      writeFileSync(path, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
      await kubectl('apply', '--validate=false', '-f', path);
    },
  };
}

function bannerValue(output: string, name: string): string {
  const match = new RegExp(`^\\s*${name}\\s+(\\S+)`, 'm').exec(output);
  if (match?.[1] === undefined) throw new Error(`The banner names no ${name}:\n${output}`);
  return match[1];
}

async function end(child: ChildProcess, act: () => void): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  act();
  await ended;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, signal);
  } catch {
    // The group is gone already.
  }
}
