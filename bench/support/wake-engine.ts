import { spawnSync } from 'node:child_process';
import { cpSync, globSync, readdirSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { currentCondition, waitForSandbox } from '../../src/cli/sandbox-verbs.ts';
import { linkPrefix } from '../../src/engine/network/links.ts';
import { engineTagOf } from '../../src/engine/runtime/index.ts';
import { createHttpResourceClient, loadKubeConfig, SANDBOXES, type Sandbox } from '../../src/kubernetes/index.ts';
import { projectRoot } from '../../test/support/checkout.ts';
import { containersOf } from '../../test/support/prepared.ts';
import { until } from '../../test/support/until.ts';
import { startUp } from '../../test/support/up.ts';

/** How to start an engine to be measured. */
export interface WakeEngineOptions {
  directory: string;
  /** Manifests of its sandboxes, in namespace `default`. */
  manifests: string;
  /** Whether containers are kept ready for what is paused. */
  prepares: boolean;
}

/** `sandbox-router up` whose sandboxes are paused and woken. */
export interface WakeEngine {
  platform: string;
  binariesDirectory: string;
  /** Milliseconds from sending a request to the first byte of its answer, on a connection of its own. */
  request(sandbox: string): Promise<number>;
  /** Resolves with the directory of the snapshot once it sleeps and a container waits for it, or else a network. */
  pause(sandbox: string): Promise<string>;
  /** Copies `config.json` of a sandbox that runs. */
  keepConfig(sandbox: string, path: string): void;
  close(): Promise<void>;
}

/** Starts an engine and a router. */
export async function startWakeEngine({ directory, manifests, prepares }: WakeEngineOptions): Promise<WakeEngine> {
  const main = join(projectRoot, 'src/cli/main.ts');
  const command = [process.execPath, main, 'up', '--prepared-sandboxes', prepares ? '4' : '0', '--example', manifests];
  const up = await startUp({ directory, command });
  const client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
  const engine = join(up.stateDirectory, 'engine');
  const sandboxCount = (await client.list(SANDBOXES)).items.length;
  return {
    platform: /runtime +gVisor \(runsc \S+, (\S+)\)/.exec(up.output())?.[1] ?? 'systrap',
    binariesDirectory: join(up.stateDirectory, 'bin'),
    request: (sandbox) => firstByte(`${up.url}/${sandbox}/`, up.token),
    pause: async (sandbox) => {
      const key = { namespace: 'default', name: sandbox };
      const suspended = { spec: { operatingMode: 'Suspended' } };
      const patched = await client.patch<Sandbox>(SANDBOXES, key, suspended, { type: 'merge' });
      const generation = patched.metadata.generation ?? 0;
      const paused = await waitForSandbox(
        client,
        key,
        60_000,
        (found) => currentCondition(found, 'Suspended', generation)?.status === 'True',
      );
      if (prepares)
        await until(`a container waits for ${sandbox}`, () =>
          containersOf(up.stateDirectory, 'created').some(({ hostname }) => hostname === sandbox),
        );
      else await until(`a network waits for ${sandbox}`, () => linkCount(engine) === sandboxCount);
      return join(engine, 'snapshots', paused.metadata.annotations?.['sandbox-router/snapshot'] ?? '');
    },
    keepConfig: (sandbox, path) => {
      const configs = globSync(join(engine, 'containers/gvisor/*/config.json'));
      const config = configs.find((file) => spawnSync('grep', ['-q', `"hostname":"${sandbox}"`, file]).status === 0);
      if (config === undefined) throw new Error(`The bundle of ${sandbox} is not below ${engine}.`);
      cpSync(config, path);
    },
    close: () => up.interrupt(),
  };
}

/** Links of all sandboxes of an engine: those that run, and those for which a network waits. */
function linkCount(engineDirectory: string): number {
  const prefix = linkPrefix(engineTagOf(engineDirectory));
  return readdirSync('/sys/class/net').filter((name) => name.startsWith(prefix)).length;
}

function firstByte(url: string, token: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    get(url, { agent: false, headers: { authorization: `Bearer ${token}` } }, (response) => {
      const elapsedMs = performance.now() - startedAt;
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => {
        if (response.statusCode === 200) resolve(elapsedMs);
        else reject(new Error(`The router answered ${response.statusCode}: ${body}`));
      });
    }).on('error', reject);
  });
}
