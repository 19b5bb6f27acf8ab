import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { arch } from 'node:os';
import { delimiter, join } from 'node:path';
import { tryCommand } from '../command.ts';
import { RuntimeError } from '../runtime.ts';
import { cachedToolPath, ensureGoTool, type GoTool, type Progress, toolCacheDirectory } from '../toolchain.ts';

/** Where gVisor publishes releases. */
const RELEASES = 'https://storage.googleapis.com/gvisor/releases/release/latest';
/** A release older than this can't restore sockets. Distributions carry ones from 2022. */
const OLDEST_RELEASE = 20_240_101;

/** Where to look for runsc, and what to build it from. */
export interface FindRunscOptions {
  /** `<state-dir>/bin`. */
  binariesDirectory: string;
  /** Directory with gVisor's go.mod and go.sum. */
  moduleDirectory: string;
  environment: NodeJS.ProcessEnv;
  progress: Progress;
}

/**
 * runsc and its version: on the PATH, in the state directory, in the user's cache, from gVisor's release site with its SHA-512 checked, or built.
 * @throws RuntimeError `runtime_unavailable` with what was tried
 */
export async function findRunsc(options: FindRunscOptions): Promise<{ path: string; version: string }> {
  const tool = runscTool(options.moduleDirectory);
  const cacheDirectory = toolCacheDirectory(options.environment);
  const inStateDirectory = join(options.binariesDirectory, 'runsc');
  const onPath = (options.environment.PATH ?? '').split(delimiter).map((directory) => join(directory, 'runsc'));
  for (const path of [...onPath, inStateDirectory, cachedToolPath(tool, cacheDirectory)]) {
    const version = existsSync(path) ? await usableVersion(path) : undefined;
    if (version !== undefined) return { path, version };
  }
  const problems: string[] = [];
  try {
    await options.progress('Fetching gVisor', () => download(inStateDirectory));
    const version = await usableVersion(inStateDirectory);
    if (version !== undefined) return { path: inStateDirectory, version };
  } catch (error) {
    problems.push(`download: ${(error as Error).message}`);
  }
  try {
    const path = await ensureGoTool(tool, cacheDirectory, options.progress);
    const version = await usableVersion(path);
    if (version !== undefined) return { path, version };
    problems.push('build: the result does not run');
  } catch (error) {
    problems.push(`build: ${(error as Error).message}`);
  }
  throw new RuntimeError(
    'runtime_unavailable',
    `No usable runsc (${problems.join('; ')}). Install gVisor or Go, or use --runtime process.`,
  );
}

/** gVisor's runsc as this project pins it. */
export function runscTool(moduleDirectory: string): GoTool {
  const pinned =
    /gvisor\.dev\/gvisor v0\.0\.0-(\d{8})\d{6}-/.exec(readFileSync(join(moduleDirectory, 'go.mod'), 'utf8'))?.[1] ??
    'unknown';
  return {
    name: 'runsc',
    moduleDirectory,
    package: 'gvisor.dev/gvisor/runsc',
    linkerFlags: `-X gvisor.dev/gvisor/runsc/version.version=release-${pinned}.0`,
  };
}

/** Version of a runsc that is new enough, else undefined. */
async function usableVersion(path: string): Promise<string | undefined> {
  try {
    const { exitCode, stdout } = await tryCommand(path, ['--allow-connected-on-save', '--version'], {
      timeoutMs: 10_000,
      failureCode: 'runtime_unavailable',
    });
    const version = /runsc version (\S+)/.exec(stdout.toString())?.[1];
    const date = Number(/release-(\d{8})/.exec(version ?? '')?.[1] ?? OLDEST_RELEASE);
    return exitCode === 0 && version !== undefined && date >= OLDEST_RELEASE ? version : undefined;
  } catch {
    return undefined;
  }
}

async function download(path: string): Promise<void> {
  const machine = { x64: 'x86_64', arm64: 'aarch64' }[arch() as 'x64' | 'arm64'];
  if (machine === undefined) throw new Error(`gVisor has no release for ${arch()}`);
  const get = async (url: string, timeoutMs: number) => {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
    if (!response.ok) throw new Error(`${url} answered ${response.status}`);
    return Buffer.from(await response.arrayBuffer());
  };
  const checksum = (await get(`${RELEASES}/${machine}/runsc.sha512`, 5000)).toString().split(/\s/)[0];
  const binary = await get(`${RELEASES}/${machine}/runsc`, 300_000);
  if (createHash('sha512').update(binary).digest('hex') !== checksum)
    throw new Error('the SHA-512 of the download is wrong');
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(`${path}.new`, binary);
  chmodSync(`${path}.new`, 0o755);
  renameSync(`${path}.new`, path);
}
