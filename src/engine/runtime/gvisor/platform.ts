import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tryCommand } from '../command.ts';
import { unmountBelow } from '../mounts.ts';
import { writeBundle } from './bundle.ts';

/** Platforms worth trying, the faster first. KVM is left out: where nested virtualisation is broken it hangs the whole sandbox. */
const PLATFORMS = ['systrap', 'ptrace'];

/** Longest time in which a healthy platform runs `true`. */
const PROBE_TIMEOUT_MS = 15_000;

/** The first platform on which a tiny container really runs, or what each of them said. */
export async function probePlatform(runscPath: string): Promise<{ platform: string } | { problem: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-probe-'));
  const said: string[] = [];
  try {
    for (const platform of PLATFORMS) {
      const result = await runTrue(runscPath, platform, join(directory, platform));
      if (result === undefined) return { platform };
      said.push(`${platform}: ${result}`);
    }
    return { problem: said.join('; ') };
  } finally {
    unmountBelow(directory);
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Undefined if `true` ran to its end, else why not. */
async function runTrue(runscPath: string, platform: string, directory: string): Promise<string | undefined> {
  const root = join(directory, 'root');
  const shared = ['/usr', '/bin', '/sbin', '/lib', '/lib64'];
  mkdirSync(root, { recursive: true });
  const bundle = writeBundle(directory, {
    id: 'probe',
    hostname: 'probe',
    root: { path: root, mounts: shared.map((path) => ({ destination: path, source: path, readOnly: true })) },
    command: ['/bin/sh', '-c', 'exit 0'],
    env: { PATH: '/usr/bin:/bin' },
    workingDirectory: '/',
    user: { uid: 0, gid: 0 },
    network: { address: '' },
    logPath: '',
  });
  const flags = [
    `--root=${join(directory, 'state')}`,
    `--platform=${platform}`,
    '--network=none',
    '--ignore-cgroups',
    '--overlay2=root:memory',
  ];
  try {
    const result = await tryCommand(runscPath, [...flags, 'run', `--bundle=${bundle}`, `probe-${platform}`], {
      timeoutMs: PROBE_TIMEOUT_MS,
      failureCode: 'runtime_unavailable',
    });
    return result.exitCode === 0
      ? undefined
      : result.stderr.toString().trim().slice(-300) || `exit code ${result.exitCode}`;
  } catch (error) {
    await tryCommand(runscPath, [...flags, 'delete', '--force', `probe-${platform}`], {
      timeoutMs: 5000,
      failureCode: 'timeout',
    }).catch(() => {});
    return (error as Error).message;
  }
}
