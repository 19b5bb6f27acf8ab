import { spawnSync } from 'node:child_process';
import { cpSync, globSync, mkdtempSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { currentCondition, waitForSandbox } from '../src/cli/sandbox-verbs.ts';
import { findRunsc } from '../src/engine/runtime/index.ts';
import { createHttpResourceClient, loadKubeConfig, SANDBOXES, type Sandbox } from '../src/kubernetes/index.ts';
import { projectRoot } from '../test/support/checkout.ts';
import { startUp } from '../test/support/up.ts';
import type { BenchOptions } from './run.ts';
import { type BareRestore, prepareBareRestore } from './support/bare-restore.ts';
import { machine, median, percentile } from './support/statistics.ts';

export const description = 'wake of a paused gVisor sandbox through the router, against a bare "runsc restore"';

const KEY = { namespace: 'default', name: 'counter' };
const COUNTER_PORT = 8080;
/** Quiet time before each measurement, so that neither side pays for what came before it. */
const SETTLE_MS = 150;

/** Alternates a wake through the router with a bare restore of a copy of the same snapshot. */
export async function run({ rounds = 30 }: BenchOptions): Promise<Record<string, unknown>> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const command = [process.execPath, join(projectRoot, 'src/cli/main.ts'), 'up'];
  const example = join(projectRoot, 'deploy/examples/quickstart.yaml');
  const up = await startUp({ directory, command: [...command, '--example', example] });
  let bare: BareRestore | undefined;
  try {
    console.log(`Wake to first byte, ${rounds} rounds in turn, after ${SETTLE_MS} ms of quiet each:
  router        GET through the router to the paused counter: from sending the request to the first byte of the answer
  bare restore  "runsc restore" of a copy of the same snapshot into a network made before: from starting runsc to the first byte
`);
    const client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
    const pause = async (): Promise<Sandbox> => {
      const patched = await client.patch<Sandbox>(
        SANDBOXES,
        KEY,
        { spec: { operatingMode: 'Suspended' } },
        { type: 'merge' },
      );
      const generation = patched.metadata.generation ?? 0;
      return waitForSandbox(
        client,
        KEY,
        30_000,
        (sandbox) => currentCondition(sandbox, 'Suspended', generation)?.status === 'True',
      );
    };
    const { path, version } = await findRunsc({
      binariesDirectory: join(up.stateDirectory, 'bin'),
      moduleDirectory: join(projectRoot, 'deploy/toolchain/gvisor'),
      environment: process.env,
      progress: (_title, task) => task(),
    });
    const platform = /runtime +gVisor \(runsc \S+, (\S+)\)/.exec(up.output())?.[1] ?? 'systrap';
    const engine = join(up.stateDirectory, 'engine');
    await request(up.url, up.token);
    const config = globSync(join(engine, 'containers/gvisor/*/config.json')).find(
      (path) => spawnSync('grep', ['-q', 'sandbox-router-counter', path]).status === 0,
    );
    if (config === undefined) throw new Error(`The counter's bundle is not below ${engine}.`);
    const keptConfig = join(directory, 'config.json');
    cpSync(config, keptConfig);
    const paused = await pause();
    bare = prepareBareRestore({
      runscPath: path,
      platform,
      directory: join(directory, 'bare'),
      bundleConfigPath: keptConfig,
      snapshotDirectory: join(engine, 'snapshots', paused.metadata.annotations?.['sandbox-router/snapshot'] ?? ''),
      port: COUNTER_PORT,
    });
    const router: number[] = [];
    const restore: number[] = [];
    for (let round = -1; round < rounds; round++) {
      await delay(SETTLE_MS);
      const routerMs = await request(up.url, up.token);
      await pause();
      await delay(SETTLE_MS);
      const bareMs = await bare.measure();
      // The first round warms both up.
      if (round >= 0) {
        router.push(routerMs);
        restore.push(bareMs);
      }
      if (process.stdout.isTTY) process.stdout.write(`\r${round + 1}/${rounds}`);
    }
    const figures = {
      routerMs: round1(median(router)),
      bareRestoreMs: round1(median(restore)),
      ratio: Math.round((median(router) / median(restore)) * 1000) / 1000,
      routerPercentilesMs: percentiles(router),
      bareRestorePercentilesMs: percentiles(restore),
      rounds,
      runsc: version,
      platform,
      machine: machine(),
    };
    console.log(`
                 median      p10      p90      p99
router        ${row(figures.routerMs, figures.routerPercentilesMs)}
bare restore  ${row(figures.bareRestoreMs, figures.bareRestorePercentilesMs)}
ratio         ${figures.ratio.toFixed(3).padStart(9)}`);
    return figures;
  } finally {
    await up.interrupt();
    bare?.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Milliseconds from sending a request to the first byte of its answer, on a connection of its own. */
function request(url: string, token: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    get(`${url}/counter/`, { agent: false, headers: { authorization: `Bearer ${token}` } }, (response) => {
      const elapsedMs = performance.now() - startedAt;
      response.resume();
      if (response.statusCode !== 200) reject(new Error(`The router answered ${response.statusCode}.`));
      else response.on('end', () => resolve(elapsedMs));
    }).on('error', reject);
  });
}

function percentiles(samples: number[]): Record<string, number> {
  return Object.fromEntries(
    [10, 50, 90, 95, 99].map((share) => [`p${share}`, round1(percentile(samples, share / 100))]),
  );
}

function row(medianMs: number, { p10 = 0, p90 = 0, p99 = 0 }: Record<string, number>): string {
  return [medianMs, p10, p90, p99].map((value) => `${value.toFixed(1)}`.padStart(9)).join('');
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}
