import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RuntimeError } from './runtime.ts';

/** Runs a long step under a progress line with this title. */
export type Progress = <Result>(title: string, task: () => Promise<Result>) => Promise<Result>;

/** A program built from Go modules. */
export interface GoTool {
  name: string;
  /** Directory with the go.mod and go.sum that pin it. */
  moduleDirectory: string;
  package: string;
  linkerFlags?: string;
}

/** Where builds are kept between runs and between checkouts. */
export function toolCacheDirectory(environment: NodeJS.ProcessEnv): string {
  return join(environment.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'sandbox-router', 'bin');
}

/** Path that a tool has in the cache: builds of other module versions have other names. */
export function cachedToolPath(tool: GoTool, cacheDirectory: string): string {
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum']) hash.update(readFileSync(join(tool.moduleDirectory, file)));
  return join(cacheDirectory, `${tool.name}-${hash.digest('hex').slice(0, 12)}`);
}

/**
 * Path of a Go program, built if the cache has none; of several processes that want it, one builds and the others wait.
 * @throws RuntimeError `runtime_unavailable` if there is no Go, or with what the build said
 */
export async function ensureGoTool(tool: GoTool, cacheDirectory: string, progress: Progress): Promise<string> {
  const path = cachedToolPath(tool, cacheDirectory);
  if (existsSync(path)) return path;
  mkdirSync(cacheDirectory, { recursive: true });
  const lock = `${path}.lock`;
  while (!takeLock(lock)) {
    await delay(500);
    if (existsSync(path)) return path;
  }
  try {
    if (!existsSync(path))
      await progress(`Building ${tool.name} (go build, some minutes the first time)`, () => build(tool, path));
    return path;
  } finally {
    rmSync(lock, { force: true });
  }
}

function takeLock(lock: string): boolean {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch {
    const holder = Number(readFileSync(lock, { encoding: 'utf8', flag: 'a+' }));
    if (holder > 0 && !existsSync(`/proc/${holder}`) && existsSync('/proc/self')) rmSync(lock, { force: true });
    return false;
  }
}

function build(tool: GoTool, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const temporary = `${path}.${process.pid}`;
    const flags = [
      '-mod=mod',
      '-trimpath',
      '-buildvcs=false',
      '-ldflags',
      `-s -w ${tool.linkerFlags ?? ''}`,
      '-o',
      temporary,
      tool.package,
    ];
    const child = spawn('go', ['build', ...flags], {
      cwd: tool.moduleDirectory,
      env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-4000);
    });
    child.on('error', () =>
      reject(new RuntimeError('runtime_unavailable', `${tool.name} must be built, and there is no Go on the PATH`)),
    );
    child.on('close', (code) => {
      if (code !== 0) {
        reject(new RuntimeError('runtime_unavailable', `building ${tool.name} failed:\n${said}`));
        return;
      }
      renameSync(temporary, path);
      resolve();
    });
  });
}
