import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent } from 'undici';
import { startServe, writeKeys } from '../test/support/serve.ts';
import type { BenchOptions } from './run.ts';
import { type FakeSandbox, startFakeCluster } from './support/fake-cluster.ts';
import { send } from './support/load.ts';
import { onCore, residentBytes } from './support/processes.ts';
import { createSoakPods } from './support/soak-pods.ts';
import { createSoakTraffic } from './support/soak-traffic.ts';
import { machine, median } from './support/statistics.ts';

export const description = 'minutes of mixed traffic while pods come and go: errors, memory and descriptors';

const SANDBOXES = 40;
const PORT = 8888;
const LOAD_SHARE = 0.7;
const PODS_PER_SECOND = 2;
const SAMPLE_MS = 5000;
const WARM_UP_MS = 20_000;

/** Soaks a router for `rounds` minutes. */
export async function run({ rounds: minutes = 10 }: BenchOptions): Promise<Record<string, unknown>> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const started: { stop(): unknown }[] = [];
  onCore(1, process.pid);
  const sandboxes: FakeSandbox[] = Array.from({ length: SANDBOXES }, (_, index) => ({
    namespace: 'default',
    name: `box-${index}`,
    address: `127.1.0.${index + 1}`,
    port: PORT,
  }));
  try {
    const pods = await createSoakPods(sandboxes);
    started.push(pods);
    const cluster = await startFakeCluster(sandboxes);
    started.push({ stop: () => cluster.close() });
    const kubeconfig = join(directory, 'kubeconfig');
    writeFileSync(kubeconfig, cluster.kubeconfig);
    const keys = writeKeys(directory, { bench: { tenant: 'default', scopes: ['route'] } });
    const environment = { SANDBOX_ROUTER_ACCESS_LOG: 'false' };
    const router = await startServe({ kubeconfig, keys: keys.path, node: { options: [], environment } });
    started.push(router);
    onCore(0, router.pid);
    while (!(await fetch(`${router.adminUrl}/readyz`)).ok) await delay(50);

    const headers = { authorization: `Bearer ${keys.tokens.bench}` };
    const targets = [{ path: '/box-0/', headers }];
    const { answered, seconds } = await send({ origin: router.url, targets, connections: 50, seconds: 5 });
    const requestsPerSecond = Math.round((answered / seconds) * LOAD_SHARE);
    console.log(`Router on core 0; ${SANDBOXES} pods (node:http), fake Kubernetes API and load on core 1.
Small GETs (90 %), POSTs of 16 KB and answers of 256 KB at ${requestsPerSecond}/s in all, which is ${LOAD_SHARE * 100} % of what one connection pool got alone; as many WebSockets that echo as pods.
${PODS_PER_SECOND} pods a second are killed, each followed by another at another address a moment later, of which the API tells then. A request that was on its way to a pod as it died,
or came before the next one listened, would have failed without the router too; every other failure counts.
`);
    const dispatcher = new Agent({ connections: 64, pipelining: 1 });
    const traffic = createSoakTraffic({ url: router.url, headers, sandboxes, pods, dispatcher, requestsPerSecond });
    started.push({ stop: () => dispatcher.destroy() });
    const samples: { residentBytes: number; descriptors: number }[] = [];
    const endsAtMs = performance.now() + WARM_UP_MS + minutes * 60_000;
    const sampling = (async () => {
      await delay(WARM_UP_MS);
      while (performance.now() < endsAtMs) {
        const descriptors = readdirSync(`/proc/${router.pid}/fd`).length;
        samples.push({ residentBytes: residentBytes(router.pid), descriptors });
        if (samples.length % 12 === 0) console.log(`${samples.length / 12} min: ${describe(samples.slice(-12))}`);
        await delay(SAMPLE_MS);
      }
    })();
    const churning = (async () => {
      for (let index = 0; performance.now() < endsAtMs; index++) {
        await delay(1000 / PODS_PER_SECOND);
        const chosen = (index * 7) % SANDBOXES;
        await pods.replace(chosen, index);
        cluster.replacePod(chosen);
      }
    })();
    const result = await traffic.run(endsAtMs);
    await Promise.all([sampling, churning]);
    const quarter = Math.max(1, Math.floor(samples.length / 4));
    const of = (part: typeof samples, field: 'residentBytes' | 'descriptors') =>
      median(part.map((sample) => sample[field]));
    const [first, last] = [samples.slice(0, quarter), samples.slice(-quarter)];
    const figures = {
      minutes,
      requestsPerSecond,
      ...result,
      podsReplaced: pods.replaced(),
      residentMiBFirstQuarter: Math.round(of(first, 'residentBytes') / 2 ** 20),
      residentMiBLastQuarter: Math.round(of(last, 'residentBytes') / 2 ** 20),
      descriptorsFirstQuarter: of(first, 'descriptors'),
      descriptorsLastQuarter: of(last, 'descriptors'),
      machine: machine(),
    };
    for (const [name, value] of Object.entries(figures))
      if (typeof value === 'number') console.log(`${name.padEnd(28)}${String(value).padStart(12)}`);
    for (const [what, count] of Object.entries(result.failures)) console.log(`  ${count} × ${what}`);
    return figures;
  } finally {
    for (const each of started.reverse()) await each.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

function describe(samples: readonly { residentBytes: number; descriptors: number }[]): string {
  const memory = median(samples.map(({ residentBytes: bytes }) => bytes)) / 2 ** 20;
  return `${memory.toFixed(0)} MiB, ${median(samples.map(({ descriptors }) => descriptors))} descriptors`;
}
