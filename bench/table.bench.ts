import { fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createRoutingTable, projectPod, projectSandbox } from '../src/router/table/index.ts';
import { projectRoot } from '../test/support/checkout.ts';
import { freePort } from '../test/support/free-port.ts';
import type { BenchOptions } from './run.ts';
import { podObject, sandboxObject } from './support/fake-cluster.ts';
import { cpuTimeUs, familyOf, type Measured, onCore, residentBytes, startMeasured } from './support/processes.ts';
import { machine, median, percentile } from './support/statistics.ts';

export const description = 'routing table: memory, first sync, lookups and changes at 100,000 sandboxes';

const SANDBOXES = 100_000;
const EVENTS_PER_SECOND = 22_000;
const REQUESTS_PER_SECOND = 500;
const support = join(dirname(fileURLToPath(import.meta.url)), 'support');

/** Measures the table at scale, one part after another, against a fake API in a process of its own. */
export async function run({ rounds = 3 }: BenchOptions): Promise<Record<string, unknown>> {
  onCore(1, process.pid);
  console.log(`Router on core 0; fake Kubernetes API (real HTTP, objects of some 1 KB), upstream and load on core 1.
Memory: resident size 5 s after the table is complete, against a router in front of an empty API; medians of ${rounds} starts.
With one worker: the same with --workers 1, where another process than that which follows the cluster answers requests, on the same core.
Changes: pods MODIFIED at ${EVENTS_PER_SECOND}/s for 8 s while ${REQUESTS_PER_SECOND} requests/s are answered; latency from when a request was due.
`);
  const upstreamPort = await freePort();
  const upstream = await startMeasured(
    process.execPath,
    [join(support, 'upstream.ts'), String(upstreamPort), '0.0.0.0'],
    upstreamPort,
  );
  try {
    const empty: number[] = [];
    const full: number[] = [];
    const sync: number[] = [];
    let changes: Changes | undefined;
    for (let round = 0; round < rounds; round++) {
      empty.push((await measureStart(0, upstreamPort)).residentMiB);
      const measured = await measureStart(SANDBOXES, upstreamPort, round === rounds - 1);
      full.push(measured.residentMiB);
      sync.push(measured.syncMs);
      changes = measured.changes ?? changes;
    }
    const emptyWithWorker = (await measureStart(0, upstreamPort, false, 1)).residentMiB;
    const fullWithWorker = await measureStart(SANDBOXES, upstreamPort, true, 1);
    const { changes: withWorker } = fullWithWorker;
    const lookupNs = measureLookup();
    const figures = {
      sandboxes: SANDBOXES,
      addedMiB: Math.round(median(full) - median(empty)),
      emptyMiB: Math.round(median(empty)),
      fullMiB: Math.round(median(full)),
      syncSeconds: Math.round(median(sync) / 100) / 10,
      lookupNs: Math.round(lookupNs),
      ...changes,
      oneWorker: {
        addedMiB: Math.round(fullWithWorker.residentMiB - emptyWithWorker),
        syncSeconds: Math.round(fullWithWorker.syncMs / 100) / 10,
        ...withWorker,
      },
      rounds,
      machine: machine(),
    };
    console.log(table(figures));
    console.log(`\nWith one worker (memory of both processes):\n${table(figures.oneWorker)}`);
    return figures;
  } finally {
    await upstream.stop();
  }
}

function table(figures: object): string {
  return Object.entries(figures)
    .filter(([, value]) => typeof value === 'number')
    .map(([name, value]) => `${name.padEnd(24)}${String(value).padStart(10)}`)
    .join('\n');
}

interface Changes {
  eventsPerSecond: number;
  cpuPerEventUs: number;
  quietP50Ms: number;
  quietP99Ms: number;
  busyP50Ms: number;
  busyP99Ms: number;
}

async function measureStart(
  count: number,
  upstreamPort: number,
  withChanges = false,
  workers = 0,
): Promise<{ residentMiB: number; syncMs: number; changes?: Changes }> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const cluster = fork(join(support, 'fake-cluster-process.ts'), [String(count), String(upstreamPort)]);
  let router: Measured | undefined;
  try {
    const [{ kubeconfig }] = (await once(cluster, 'message')) as [{ kubeconfig: string }];
    onCore(1, cluster.pid ?? 0);
    const kubeconfigPath = join(directory, 'kubeconfig');
    writeFileSync(kubeconfigPath, kubeconfig);
    const token = randomBytes(24).toString('base64url');
    const keys = join(directory, 'keys.json');
    const sha256 = createHash('sha256').update(token).digest('hex');
    writeFileSync(
      keys,
      JSON.stringify({ keys: [{ id: 'bench', sha256, tenant: 'team-0', scopes: ['route'], namespaces: '*' }] }),
    );
    const [port, adminPort] = [await freePort(), await freePort()];
    const startedMs = performance.now();
    router = await startMeasured(
      'taskset',
      [
        ...['--cpu-list', '0', process.execPath, join(projectRoot, 'src/cli/main.ts'), 'serve'],
        ...['--listen', `127.0.0.1:${port}`, '--admin-listen', `127.0.0.1:${adminPort}`],
        ...['--kubeconfig', kubeconfigPath, '--api-keys-file', keys, '--workers', String(workers)],
      ],
      adminPort,
    );
    while (!(await fetch(`http://127.0.0.1:${adminPort}/readyz`)).ok) await delay(50);
    const syncMs = performance.now() - startedMs;
    await delay(5000);
    const family = familyOf(router.pid);
    const sum = (of: (pid: number) => number) => family.reduce((total, pid) => total + of(pid), 0);
    const residentMiB = sum(residentBytes) / 2 ** 20;
    if (!withChanges) return { residentMiB, syncMs };
    const load = () => latencies(port, token);
    await load();
    const quiet = await load();
    cluster.send({ eventsPerSecond: EVENTS_PER_SECOND });
    await load();
    const eventsBefore = await eventCount(adminPort);
    const cpuBefore = sum(cpuTimeUs);
    const busyFromMs = performance.now();
    const busy = await load();
    const events = (await eventCount(adminPort)) - eventsBefore;
    const cpuUs = sum(cpuTimeUs) - cpuBefore;
    const round = (value: number) => Math.round(value * 100) / 100;
    return {
      residentMiB,
      syncMs,
      changes: {
        eventsPerSecond: Math.round((events * 1000) / (performance.now() - busyFromMs)),
        cpuPerEventUs: round((cpuUs - busy.length * 75) / events),
        quietP50Ms: round(percentile(quiet, 0.5)),
        quietP99Ms: round(percentile(quiet, 0.99)),
        busyP50Ms: round(percentile(busy, 0.5)),
        busyP99Ms: round(percentile(busy, 0.99)),
      },
    };
  } finally {
    await router?.stop();
    cluster.disconnect();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Milliseconds from when each request was due until its answer was complete, at a fixed rate for 8 s over the first hundred sandboxes. */
async function latencies(port: number, token: string): Promise<number[]> {
  const samples: number[] = [];
  const pending: Promise<void>[] = [];
  const startMs = performance.now();
  for (let index = 0; index < REQUESTS_PER_SECOND * 8; index++) {
    const dueMs = startMs + (index * 1000) / REQUESTS_PER_SECOND;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await delay(waitMs);
    const sandbox = index % 100;
    pending.push(
      get(port, `/sandbox-${sandbox}.team-${sandbox}/`, token).then(() => {
        samples.push(performance.now() - Math.max(dueMs, startMs));
      }),
    );
  }
  await Promise.all(pending);
  return samples;
}

function get(port: number, path: string, token: string): Promise<void> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, headers: { authorization: `Bearer ${token}` } }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`${path}: ${response.statusCode}`));
      response.resume().on('end', resolve);
    })
      .on('error', reject)
      .end();
  });
}

async function eventCount(adminPort: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  return Number(/^sandbox_router_table_events_total (\d+)/m.exec(text)?.[1]);
}

/** Nanoseconds for finding a sandbox and judging whether it is routable, over names in no order. */
function measureLookup(): number {
  const table = createRoutingTable();
  const names: [namespace: string, name: string][] = [];
  for (let index = 0; index < SANDBOXES; index++) {
    const sandbox = {
      namespace: `team-${index % 100}`,
      name: `sandbox-${index}`,
      address: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
      port: 8888,
    };
    table.upsertSandbox(projectSandbox(sandboxObject(sandbox, index)));
    const pod = projectPod(podObject(sandbox, index, 0));
    if (pod !== undefined) table.upsertPod(pod);
    names.push([sandbox.namespace, sandbox.name]);
  }
  const samples: number[] = [];
  for (let round = 0; round < 20; round++) {
    let routable = 0;
    const startedMs = performance.now();
    for (let index = 0; index < SANDBOXES; index++) {
      const [namespace, name] = names[(index * 7919) % SANDBOXES] as [string, string];
      const route = table.find(namespace, name);
      if (route !== undefined && table.isRoutable(route)) routable++;
    }
    samples.push(((performance.now() - startedMs) * 1e6) / SANDBOXES);
    if (routable !== SANDBOXES) throw new Error(`only ${routable} of ${SANDBOXES} are routable`);
  }
  return median(samples);
}
