import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  loadKubeConfig,
  PODS,
  SANDBOXES,
  type Sandbox,
} from '../src/kubernetes/index.ts';
import { projectRoot } from '../test/support/checkout.ts';
import { until } from '../test/support/until.ts';
import { type RunningUp, startUp } from '../test/support/up.ts';
import type { BenchOptions } from './run.ts';
import { residentBytes } from './support/processes.ts';
import { machine, median } from './support/statistics.ts';

export const description =
  'an engine with 2,000 paused and 50 running sandboxes: memory, list of all, start after kill -9';

const RUNNING = 50;
/** Sandboxes that are made and paused at once. */
const WAVE = 100;
const AT_ONCE = 16;
const LISTS = 15;
const WAVE_MS = 120_000;
/** Caches and collectors have their say before memory is read. */
const SETTLE_MS = 5000;

/** Makes and pauses sandboxes of the process runtime, whose objects, records and snapshots are those of any runtime; `rounds` of them. */
export async function run({ rounds: paused = 2000 }: BenchOptions): Promise<Record<string, unknown>> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const command = [process.execPath, join(projectRoot, 'src/cli/launch.mjs'), 'up'];
  const start = () => startUp({ directory, runtime: 'process', command });
  let up: RunningUp = await start();
  let client = clientOf(up);
  try {
    console.log(`An engine with ${paused} paused and ${RUNNING} running sandboxes (process runtime: a paused one is a stopped "sleep" and a snapshot on disk):
  memory    resident, of the one process that is engine, API, controllers and router
  list      GET of all Sandboxes over HTTPS, to the last byte parsed; "kubectl get sandboxes" from start to end of the program
  recovery  kill -9, then from starting "up" to its banner: every Sandbox found as it was, and the API and the router answer
`);
    const emptyMiB = mebibytes(residentBytes(up.pid));
    const madeAt = performance.now();
    for (let made = 0; made < paused; made += WAVE)
      await pauseWave(client, made, Math.min(paused, made + WAVE), `${made}/${paused}`);
    await makeAll(client, 'running', 0, RUNNING);
    await allAre(client, 'running', RUNNING, isReady);
    const makeSeconds = Math.round((performance.now() - madeAt) / 1000);
    await delay(SETTLE_MS);
    const afterMakingMiB = mebibytes(residentBytes(up.pid));
    const before = await measureLists(client, up);
    const uids = await podUids(client);
    await client.close();
    await up.kill();
    const startedAt = performance.now();
    up = await start();
    const recoverySeconds = Math.round(performance.now() - startedAt) / 1000;
    client = clientOf(up);
    await requireRecovered(client, paused, uids);
    await delay(SETTLE_MS);
    const after = await measureLists(client, up);
    const figures = {
      residentMiB: { empty: emptyMiB, afterMaking: afterMakingMiB, afterRecovery: mebibytes(residentBytes(up.pid)) },
      listMs: { afterMaking: before.listMs, afterRecovery: after.listMs },
      kubectlMs: { afterMaking: before.kubectlMs, afterRecovery: after.kubectlMs },
      recoverySeconds,
      paused,
      running: RUNNING,
      makeSeconds,
      machine: machine(),
    };
    console.log(`memory     ${afterMakingMiB} MiB after making them, ${figures.residentMiB.afterRecovery} MiB after recovery (${emptyMiB} MiB without any)
list       ${before.listMs} ms, ${after.listMs} ms after recovery
kubectl    ${before.kubectlMs ?? '-'} ms, ${after.kubectlMs ?? '-'} ms after recovery
recovery   ${recoverySeconds} s`);
    return figures;
  } finally {
    await client.close();
    await up.interrupt();
    rmSync(directory, { recursive: true, force: true });
  }
}

function clientOf(up: RunningUp): HttpResourceClient {
  return createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
}

async function makeAll(client: HttpResourceClient, prefix: string, from: number, to: number): Promise<void> {
  const containers = [{ name: 'main', image: 'sandbox-router.local/toolbox', command: ['sleep', '100000'] }];
  await inParallel(from, to, async (index) => {
    await client.create(SANDBOXES, {
      apiVersion: 'agents.x-k8s.io/v1beta1',
      kind: 'Sandbox',
      metadata: { name: `${prefix}-${index}`, namespace: 'default' },
      spec: { podTemplate: { spec: { terminationGracePeriodSeconds: 0, containers } } },
    } as never);
  });
}

async function pauseWave(client: HttpResourceClient, from: number, to: number, progress: string): Promise<void> {
  if (process.stdout.isTTY) process.stdout.write(`\rpaused ${progress}`);
  await makeAll(client, 'paused', from, to);
  await allAre(client, 'paused', to, (sandbox) => isReady(sandbox) || isSuspended(sandbox));
  await inParallel(from, to, async (index) => {
    const key = { namespace: 'default', name: `paused-${index}` };
    await client.patch(SANDBOXES, key, { spec: { operatingMode: 'Suspended' } }, { type: 'merge' });
  });
  await allAre(client, 'paused', to, isSuspended);
}

async function allAre(
  client: HttpResourceClient,
  prefix: string,
  count: number,
  holds: (sandbox: Sandbox) => boolean,
): Promise<void> {
  await until(
    `${count} sandboxes ${prefix}-… are as wanted`,
    async () => {
      const found = (await client.list<Sandbox>(SANDBOXES)).items.filter(
        (sandbox) => sandbox.metadata.name.startsWith(`${prefix}-`) && holds(sandbox),
      );
      if (found.length !== count) await delay(100);
      return found.length === count;
    },
    WAVE_MS,
  );
}

function hasCondition({ status }: Sandbox, wanted: string): boolean {
  return status?.conditions?.some(({ type, status: value }) => type === wanted && value === 'True') === true;
}

function isReady(sandbox: Sandbox): boolean {
  return hasCondition(sandbox, 'Ready');
}

function isSuspended(sandbox: Sandbox): boolean {
  return hasCondition(sandbox, 'Suspended');
}

async function podUids(client: HttpResourceClient): Promise<string[]> {
  return (await client.list(PODS)).items.map(({ metadata }) => metadata.uid ?? '').sort();
}

/** @throws Error unless all is as before: nothing woke, nothing was started anew, nothing is missing */
async function requireRecovered(client: HttpResourceClient, paused: number, uids: string[]): Promise<void> {
  const { items } = await client.list<Sandbox>(SANDBOXES);
  const found = { suspended: items.filter(isSuspended).length, ready: items.filter(isReady).length };
  const samePods = JSON.stringify(await podUids(client)) === JSON.stringify(uids);
  if (found.suspended !== paused || found.ready !== RUNNING || !samePods)
    throw new Error(`After the start: ${JSON.stringify(found)}, the same Pods: ${samePods}.`);
}

async function measureLists(client: HttpResourceClient, up: RunningUp) {
  const lists: number[] = [];
  const kubectl: number[] = [];
  const hasKubectl = await up.kubectl('version', '--client').then(
    () => true,
    () => false,
  );
  for (let round = 0; round < LISTS; round++) {
    const startedAt = performance.now();
    await client.list(SANDBOXES);
    lists.push(performance.now() - startedAt);
    if (!hasKubectl) continue;
    const kubectlAt = performance.now();
    await up.kubectl('get', 'sandboxes');
    kubectl.push(performance.now() - kubectlAt);
  }
  return {
    listMs: Math.round(median(lists)),
    ...(!hasKubectl ? {} : { kubectlMs: Math.round(median(kubectl)) }),
  };
}

async function inParallel(from: number, to: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = from;
  const worker = async () => {
    for (let index = next++; index < to; index = next++) await work(index);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
