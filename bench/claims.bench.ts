import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  loadKubeConfig,
  type ResourceType,
  SANDBOX_CLAIMS,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  type SandboxClaim,
  type SandboxWarmPool,
} from '../src/kubernetes/index.ts';
import { projectRoot } from '../test/support/checkout.ts';
import { until } from '../test/support/until.ts';
import { startUp } from '../test/support/up.ts';
import type { BenchOptions } from './run.ts';
import { cpuTimeUs, residentBytes } from './support/processes.ts';
import { machine, percentile } from './support/statistics.ts';
import { measureFill } from './support/template-fill.ts';

export const description =
  'warm claims per second to Ready; pools filled from a template snapshot against bare "runsc restore"';

/** Claims that are under way at once: each that gets Ready is followed by the next. */
const UNDER_WAY = 16;
/** Claims before those that are measured: the first of a process run code that was never run. */
const WARM_UP = 100;
const FILL_MS = 600_000;
/** Members of the pool for each claim: a pool that runs low is refilled, and starting processes costs more than claims do. */
const MEMBERS_PER_CLAIM = 1.15;
/** Members of the pool that is filled from a snapshot, and how often. */
const COPIES = 24;
const FILLS = 3;

/** Warm claims, then copies. */
export async function run(options: BenchOptions): Promise<Record<string, unknown>> {
  const claims = await measureClaims(options);
  console.log(`
A pool of gVisor sandboxes filled from its template's snapshot, from 0 to ${COPIES} Ready, and as many bare "runsc restore" of the same snapshot, in turn, ${FILLS} times:
  a bare restore ends when the port of the container accepts; its networks are made before, and as many are under way at once as suits the machine
`);
  const templateFill = await measureFill(COPIES, FILLS);
  console.log(`pool                ${templateFill.poolPerSecond} sandboxes/s
bare runsc restore  ${templateFill.barePerSecond} containers/s (${templateFill.bareAtOnce} at once)
ratio               ${templateFill.ratio}`);
  return { ...claims, templateFill };
}

/** Claims everything that a pool of sleeping processes holds, as fast as claims get Ready. */
async function measureClaims({ rounds = 1000 }: BenchOptions): Promise<Record<string, unknown>> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const command = [process.execPath, join(projectRoot, 'src/cli/launch.mjs'), 'up'];
  const up = await startUp({ directory, runtime: 'process', command });
  const client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
  try {
    const replicas = Math.ceil((rounds + WARM_UP) * MEMBERS_PER_CLAIM);
    console.log(`Warm claims: ${rounds} claims, ${UNDER_WAY} under way at once, on a filled pool of ${replicas} sleeping processes, after ${WARM_UP} to warm up.
  a claim takes from sending its POST to the watch event that says Ready; API, controllers, router and pool are one process
`);
    const filledMs = await fillPool(client, replicas);
    await claimAll(client, 'warm-up', WARM_UP);
    const cpuBefore = cpuTimeUs(up.pid);
    const { samples, elapsedMs, warm } = await claimAll(client, 'claim', rounds);
    const cpuMs = (cpuTimeUs(up.pid) - cpuBefore) / 1000;
    const figures = {
      claimsPerSecond: Math.round(rounds / (elapsedMs / 1000)),
      readyMs: Object.fromEntries(
        [50, 90, 99, 100].map((share) => [`p${share}`, round1(percentile(samples, share / 100))]),
      ),
      claims: rounds,
      warmShare: warm / rounds,
      underWay: UNDER_WAY,
      engineCpuMsPerClaim: round1(cpuMs / rounds),
      engineResidentMiB: Math.round(residentBytes(up.pid) / 2 ** 20),
      fillPerSecond: Math.round(replicas / (filledMs / 1000)),
      machine: machine(),
    };
    const { p50 = 0, p90 = 0, p99 = 0, p100 = 0 } = figures.readyMs;
    console.log(`claims/s to Ready   ${figures.claimsPerSecond}
Ready, ms           p50 ${p50}  p90 ${p90}  p99 ${p99}  longest ${p100}
warm                ${(figures.warmShare * 100).toFixed(1)} %
engine              ${figures.engineCpuMsPerClaim} ms CPU per claim, ${figures.engineResidentMiB} MiB
pool filled at      ${figures.fillPerSecond} sandboxes/s`);
    return figures;
  } finally {
    await client.close();
    // Not a kill: that would leave the pool's processes to run for ever.
    await up.interrupt();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function fillPool(client: HttpResourceClient, replicas: number): Promise<number> {
  const startedAt = performance.now();
  const containers = [{ name: 'main', image: 'sandbox-router.local/toolbox', command: ['sleep', '100000'] }];
  await create(client, SANDBOX_TEMPLATES, 'bench', {
    networkPolicyManagement: 'Unmanaged',
    podTemplate: { spec: { terminationGracePeriodSeconds: 0, containers } },
  });
  await create(client, SANDBOX_WARM_POOLS, 'bench', { replicas, sandboxTemplateRef: { name: 'bench' } });
  await until(
    'the pool is filled',
    async () => {
      const key = { namespace: 'default', name: 'bench' };
      const { status } = await client.get<SandboxWarmPool>(SANDBOX_WARM_POOLS, key);
      if (process.stdout.isTTY) process.stdout.write(`\rfilled ${status?.readyReplicas ?? 0}/${replicas}`);
      return status?.readyReplicas === replicas;
    },
    FILL_MS,
  );
  return performance.now() - startedAt;
}

async function claimAll(client: HttpResourceClient, prefix: string, count: number) {
  const closing = new AbortController();
  const waiting = new Map<string, (claim: SandboxClaim) => void>();
  const { resourceVersion } = await client.list(SANDBOX_CLAIMS, { limit: 1 });
  const watching = (async () => {
    const options = { resourceVersion, signal: closing.signal };
    for await (const { type, object } of client.watch<SandboxClaim>(SANDBOX_CLAIMS, options)) {
      const ready = object.status?.conditions?.some(({ type: name, status }) => name === 'Ready' && status === 'True');
      if (type === 'BOOKMARK' || ready !== true) continue;
      waiting.get(object.metadata.name)?.(object);
      waiting.delete(object.metadata.name);
    }
  })();
  const samples: number[] = [];
  let warm = 0;
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) {
      const name = `bench-${prefix}-${index}`;
      const sentAt = performance.now();
      const ready = new Promise<SandboxClaim>((resolve) => waiting.set(name, resolve));
      await create(client, SANDBOX_CLAIMS, name, { warmPoolRef: { name: 'bench' } });
      const claim = await ready;
      samples.push(performance.now() - sentAt);
      if (claim.status?.sandbox?.name !== name) warm++;
    }
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: UNDER_WAY }, worker));
  const elapsedMs = performance.now() - startedAt;
  closing.abort();
  await watching;
  return { samples, elapsedMs, warm };
}

async function create(client: HttpResourceClient, type: ResourceType, name: string, spec: object): Promise<void> {
  await client.create(type, {
    apiVersion: `${type.group}/${type.version}`,
    kind: type.kind,
    metadata: { name, namespace: 'default' },
    spec,
  } as never);
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}
