import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROUTER_NODE_OPTIONS } from '../../src/cli/bootstrap.mjs';
import { projectRoot } from './checkout.ts';

/** An API key of a test. */
export interface TestKey {
  tenant: string;
  scopes?: ('route' | 'wake' | 'manage')[];
  namespaces?: string[] | '*';
}

/** A `sandbox-router serve` process. */
export interface ServeProcess {
  url: string;
  adminUrl: string;
  pid: number;
  output(): string;
  /** Sends the signal and waits for the end; resolves with the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  signal(signal: NodeJS.Signals): void;
}

/** Writes a key file for {@link startServe}; returns its path and each key's token. */
export function writeKeys<Name extends string>(
  directory: string,
  keys: Record<Name, TestKey>,
): { path: string; tokens: Record<Name, string> } {
  const tokens = {} as Record<Name, string>;
  const stored = Object.entries<TestKey>(keys).map(([id, key]) => {
    const token = randomBytes(24).toString('base64url');
    tokens[id as Name] = token;
    const sha256 = createHash('sha256').update(token).digest('hex');
    return { id, sha256, scopes: ['route', 'wake', 'manage'], ...key };
  });
  const path = join(directory, 'keys.json');
  writeFileSync(path, JSON.stringify({ keys: stored }));
  return { path, tokens };
}

/** How Node is started: its own options, and more environment. */
export interface NodeStart {
  options: readonly string[];
  environment: Readonly<Record<string, string>>;
}

/** Starts a router in front of a cluster on free ports; resolves once it listens (not: is ready). */
export async function startServe(options: {
  kubeconfig: string;
  keys: string;
  flags?: string[];
  /** What the process is started with besides. */
  node?: NodeStart;
}): Promise<ServeProcess> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-serve-'));
  const child: ChildProcess = spawn(
    process.execPath,
    [
      ...ROUTER_NODE_OPTIONS,
      ...(options.node?.options ?? []),
      join(projectRoot, 'src/cli/main.ts'),
      'serve',
      ...['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'],
      ...['--kubeconfig', options.kubeconfig, '--api-keys-file', options.keys],
      ...(options.flags ?? []),
    ],
    { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.node?.environment } },
  );
  process.once('exit', () => child.kill('SIGKILL'));
  let output = '';
  const listening = Promise.withResolvers<void>();
  let listens = false;
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      listens ||= /^ *admin +\S+/m.test(output);
      if (listens) listening.resolve();
    });
  child.once('exit', (code, signal) => listening.reject(new Error(`serve ended with ${code ?? signal}:\n${output}`)));
  await listening.promise;
  const value = (name: string) => new RegExp(`^ *${name} +(\\S+)`, 'm').exec(output)?.[1] ?? '';
  return {
    url: value('router'),
    adminUrl: value('admin'),
    pid: child.pid ?? 0,
    output: () => output,
    signal: (signal) => void child.kill(signal),
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, 'exit');
        child.kill(signal);
        await ended;
      }
      rmSync(directory, { recursive: true, force: true });
      return child.exitCode;
    },
  };
}
