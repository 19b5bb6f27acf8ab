import { cpSync, globSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  loadKubeConfig,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  type SandboxWarmPool,
} from '../../src/kubernetes/index.ts';
import { projectRoot } from '../../test/support/checkout.ts';
import { runscOf } from '../../test/support/runsc.ts';
import { until } from '../../test/support/until.ts';
import { startUp } from '../../test/support/up.ts';
import { type BareRestores, prepareBareRestores } from './bare-restores.ts';
import { median } from './statistics.ts';

const PORT = 8080;
const POOL = { namespace: 'default', name: 'copies' };
const FILL_MS = 120_000;

/** Containers a second: of a pool that is filled from its template's snapshot, and of bare `runsc restore` of the same snapshot. */
export interface FillRates {
  poolPerSecond: number;
  barePerSecond: number;
  ratio: number;
  rounds: number;
  members: number;
  bareAtOnce: number;
}

/** Fills a pool of copies from 0 to `members`, and restores as many by hand, in turn. */
export async function measureFill(members: number, rounds: number): Promise<FillRates> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const command = [process.execPath, join(projectRoot, 'src/cli/launch.mjs'), 'up', '--prepared-sandboxes', '0'];
  const up = await startUp({ directory, command });
  const client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
  const engine = join(up.stateDirectory, 'engine');
  const atOnce = 2 * cpus().length;
  let bare: BareRestores | undefined;
  try {
    await makePool(client);
    const snapshot = await until(
      'the snapshot of the template is there',
      () => readdirSync(join(engine, 'snapshots')).find((file) => /^template-[\w-]+$/.test(file)),
      FILL_MS,
    );
    await scale(client, members);
    const [config] = globSync(join(engine, 'containers/gvisor/*/config.json'));
    if (config === undefined) throw new Error(`There is no bundle below ${engine}.`);
    cpSync(config, join(directory, 'config.json'));
    bare = prepareBareRestores({
      runscPath: (await runscOf(join(up.stateDirectory, 'bin'))).path,
      platform: /runtime +gVisor \(runsc \S+, (\S+)\)/.exec(up.output())?.[1] ?? 'systrap',
      directory: join(directory, 'bare'),
      bundleConfigPath: join(directory, 'config.json'),
      snapshotDirectory: join(engine, 'snapshots', snapshot),
      port: PORT,
      count: members,
      atOnce,
    });
    const pool: number[] = [];
    const byHand: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await scale(client, 0);
      await until(
        'their containers are gone',
        () => globSync(join(engine, 'containers/gvisor/*/config.json')).length === 0,
      );
      byHand.push(await bare.measure());
      pool.push(members / ((await scale(client, members)) / 1000));
    }
    const rates = { poolPerSecond: median(pool), barePerSecond: median(byHand) };
    return {
      poolPerSecond: rounded(rates.poolPerSecond),
      barePerSecond: rounded(rates.barePerSecond),
      ratio: rounded(rates.poolPerSecond / rates.barePerSecond),
      rounds,
      members,
      bareAtOnce: atOnce,
    };
  } finally {
    await scale(client, 0).catch(() => {});
    await client.close();
    await up.interrupt();
    bare?.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function makePool(client: HttpResourceClient): Promise<void> {
  const container = {
    name: 'counter',
    image: 'sandbox-router.local/toolbox',
    command: ['/opt/sandbox-router/agent/bin/sandbox-router-counter'],
    ports: [{ name: 'http', containerPort: PORT }],
  };
  const spec = { runtimeClassName: 'gvisor', terminationGracePeriodSeconds: 0, containers: [container] };
  await client.create(SANDBOX_TEMPLATES, {
    apiVersion: `${SANDBOX_TEMPLATES.group}/${SANDBOX_TEMPLATES.version}`,
    kind: 'SandboxTemplate',
    metadata: { ...POOL, annotations: { 'sandbox-router/clone-from-snapshot': 'true' } },
    spec: { networkPolicyManagement: 'Unmanaged', podTemplate: { spec } },
  } as never);
  await client.create(SANDBOX_WARM_POOLS, {
    apiVersion: `${SANDBOX_WARM_POOLS.group}/${SANDBOX_WARM_POOLS.version}`,
    kind: 'SandboxWarmPool',
    metadata: POOL,
    spec: { replicas: 0, sandboxTemplateRef: { name: POOL.name } },
  } as never);
}

/** Milliseconds from asking for so many members until all are Ready. */
async function scale(client: HttpResourceClient, replicas: number): Promise<number> {
  const startedAt = performance.now();
  await client.patch(SANDBOX_WARM_POOLS, POOL, { spec: { replicas } }, { type: 'merge' });
  await until(
    `the pool has ${replicas} members`,
    async () => {
      const { status, metadata } = await client.get<SandboxWarmPool>(SANDBOX_WARM_POOLS, POOL);
      return (
        status?.observedGeneration === metadata.generation &&
        status?.replicas === replicas &&
        status.readyReplicas === replicas
      );
    },
    FILL_MS,
  );
  return performance.now() - startedAt;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
