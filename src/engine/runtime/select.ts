import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { CommandShell } from '../command-shell.ts';
import { createCgroups } from './cgroups/index.ts';
import { findRunsc } from './gvisor/find-runsc.ts';
import { createGvisorRuntime } from './gvisor/gvisor.ts';
import { probePlatform } from './gvisor/platform.ts';
import { createProcessRuntime } from './process/process.ts';
import { type ContainerRuntime, RuntimeError } from './runtime.ts';
import type { Progress } from './toolchain.ts';

/** Where runtimes keep things and what they are built from. */
export interface SelectRuntimeOptions {
  requested: 'auto' | 'gvisor' | 'process';
  engineDirectory: string;
  shell: CommandShell;
  binariesDirectory: string;
  /** gVisor's Go module. */
  moduleDirectory: string;
  environment: NodeJS.ProcessEnv;
  progress: Progress;
}

/** The runtime chosen; `reason` says in one line why it is not gVisor, where it isn't. */
export interface SelectedRuntime {
  runtime: ContainerRuntime;
  reason?: string;
  /** {@link engineTagOf} its directory. */
  engineTag: string;
  /** Whether sandboxes get network namespaces. */
  namespaces: boolean;
}

/** Four hex digits that stand for an engine's directory in names of what it makes on the machine. */
export function engineTagOf(engineDirectory: string): string {
  return createHash('sha256').update(engineDirectory).digest('hex').slice(0, 4);
}

/** Takes gVisor where it can run; `process` where asked for, or where `auto` finds that gVisor can't. @throws RuntimeError `runtime_unavailable` if gVisor was asked for by name */
export async function selectRuntime(options: SelectRuntimeOptions): Promise<SelectedRuntime> {
  const engineTag = engineTagOf(options.engineDirectory);
  const root = process.platform === 'linux' && process.getuid?.() === 0;
  const cgroups = createCgroups(`sandbox-router-${engineTag}`);
  const containersDirectory = (name: string) => join(options.engineDirectory, 'containers', name);
  const useProcess = (reason?: string): SelectedRuntime => ({
    runtime: createProcessRuntime({ cgroups, containersDirectory: containersDirectory('process') }),
    engineTag,
    namespaces: false,
    ...(reason === undefined ? {} : { reason }),
  });
  if (options.requested === 'process') return useProcess();
  try {
    if (process.platform !== 'linux') throw new RuntimeError('runtime_unavailable', 'gVisor runs on Linux only');
    if (!root) throw new RuntimeError('runtime_unavailable', 'gVisor needs root here');
    if (!hasTool('ip', options.environment))
      throw new RuntimeError('runtime_unavailable', 'the tool "ip" is missing (package iproute2)');
    const { path, version } = await findRunsc(options);
    const probe = await options.progress('Checking that gVisor runs here', () => probePlatform(path));
    if ('problem' in probe)
      throw new RuntimeError('runtime_unavailable', `gVisor does not run here (${probe.problem})`);
    const runsc = {
      path,
      platform: probe.platform,
      rootDirectory: `/run/sandbox-router-${engineTag}`,
      filestoreDirectory: join(options.engineDirectory, 'filestores'),
      shell: options.shell,
    };
    return {
      runtime: createGvisorRuntime({ cgroups, runsc, version, containersDirectory: containersDirectory('gvisor') }),
      engineTag,
      namespaces: true,
    };
  } catch (error) {
    if (options.requested === 'gvisor' || !(error instanceof RuntimeError)) throw error;
    return useProcess(error.message);
  }
}

/** Whether a program is on the PATH. */
export function hasTool(name: string, environment: NodeJS.ProcessEnv): boolean {
  return (environment.PATH ?? '').split(delimiter).some((directory) => {
    const path = join(directory, name);
    if (!existsSync(path)) return false;
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
