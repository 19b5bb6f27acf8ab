import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { parseListenAddress, parseNameServer, type Settings } from '../config/index.ts';
import { type Engine, startEngine } from '../engine/index.ts';
import { projectRoot, withProgress } from './bootstrap.mjs';
import { report } from './report.ts';
import { addSettingOptions, settingsFrom } from './setting-options.ts';
import { untilSignal } from './signals.ts';
import { ensureToken, openStateDirectory, type StateDirectory } from './state-directory.ts';

/** `sandbox-router engine`: the engine without a router. */
export function engineCommand(): Command {
  return addSettingOptions(new Command('engine'), 'engine')
    .description('run only the engine: sandboxes and their Kubernetes API')
    .action((options: Record<string, unknown>) => engine(settingsFrom(options, 'engine')));
}

async function engine(settings: Settings): Promise<void> {
  const stopAsked = untilSignal();
  const configured = await startConfiguredEngine(settings);
  for (const warning of configured.engine.warnings) console.error(`WARNING: ${warning}`);
  console.log(
    `  runtime     ${configured.engine.runtime.description}\n  engine      ${configured.engine.url}\n  kubeconfig  ${configured.state.kubeconfig}`,
  );
  await stopAsked;
  await closeEngine(configured);
}

/** An engine and the state directory that it holds. */
export interface ConfiguredEngine {
  engine: Engine;
  state: StateDirectory;
}

/** Takes the state directory and starts an engine in it. */
export async function startConfiguredEngine(settings: Settings): Promise<ConfiguredEngine> {
  const state = openStateDirectory(settings.stateDir);
  try {
    const engine = await startEngine({
      engineDirectory: state.engine,
      binariesDirectory: state.binaries,
      kubeconfigPath: state.kubeconfig,
      listen: parseListenAddress(settings.engineListen),
      token: ensureToken(state.token),
      requestedRuntime: settings.runtime,
      gvisorModuleDirectory: join(projectRoot, 'deploy', 'toolchain', 'gvisor'),
      agentDirectory: join(import.meta.dirname, '..', 'engine', 'agent'),
      imageLayoutsDirectory: resolve(settings.imageLayouts ?? join(settings.stateDir, 'images')),
      imageCacheBytes: settings.imageCacheBytes,
      nameServers: settings.nameServers.map(parseNameServer),
      prepared: { count: settings.preparedSandboxes, bytes: settings.preparedBytes },
      idleCpuFloorMillicores: settings.idleCpuFloorMillicores,
      environment: process.env,
      progress: withProgress,
      report,
    });
    return { engine, state };
  } catch (error) {
    state.release();
    throw error;
  }
}

/** Puts the sandboxes to sleep and gives the state directory up. */
export async function closeEngine({ engine, state }: ConfiguredEngine): Promise<void> {
  const problems = await withProgress('Putting sandboxes to sleep', () => engine.close());
  for (const problem of problems) console.error(`Not kept: ${problem}`);
  state.release();
}
