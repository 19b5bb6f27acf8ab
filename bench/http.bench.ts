import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { projectRoot } from '../test/support/checkout.ts';
import { freePort } from '../test/support/free-port.ts';
import type { BenchOptions } from './run.ts';
import { type FakeCluster, startFakeCluster } from './support/fake-cluster.ts';
import { type Peer, startPeers } from './support/peers.ts';
import { cpuTimeUs, type Measured, onCore, residentBytes, startMeasured } from './support/processes.ts';
import { machine, median } from './support/statistics.ts';

export const description = 'CPU per proxied request and requests per second on one core; --peers adds other proxies';

const CONNECTIONS = 50;
const WARM_UP_SECONDS = 1;
const RUN_SECONDS = 4;

/** What is asked for. The first is the one whose figures stand at the top of the JSON. */
const SCENARIOS = [
  { name: 'small GET', path: '/' },
  { name: '16 KB', path: '/bytes?n=16384' },
  { name: '1 MB', path: '/bytes?n=1048576' },
] as const;

interface Sample {
  cpuPerRequestUs: number;
  requestsPerSecond: number;
  p99Ms: number;
}

/** A proxy under load: where to send, and with which headers. */
interface Contender {
  name: string;
  version: string;
  url: string;
  headers: Record<string, string>;
  process: Measured;
}

/** Loads each proxy in turn, `rounds` times over, and compares medians. */
export async function run({ peers: withPeers, rounds = 3 }: BenchOptions): Promise<Record<string, unknown>> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const started: Measured[] = [];
  let cluster: FakeCluster | undefined;
  try {
    onCore(1, process.pid);
    const upstreamPort = await freePort();
    const upstreamScript = join(dirname(fileURLToPath(import.meta.url)), 'support/upstream.ts');
    const upstream = await startMeasured(process.execPath, [upstreamScript, String(upstreamPort)], upstreamPort);
    onCore(1, upstream.pid);
    started.push(upstream);
    cluster = await startFakeCluster([{ namespace: 'default', name: 'box', address: '127.0.0.1', port: upstreamPort }]);
    const router = await startRouter(directory, cluster);
    started.push(router.process);
    const peers = withPeers ? await startPeers(upstreamPort) : [];
    started.push(...peers.map((peer) => peer.process));
    const contenders = [router, ...peers.map(contenderOf)];
    for (const contender of contenders) onCore(0, contender.process.pid);
    console.log(`Proxies on core 0, one worker each; load (autocannon, ${CONNECTIONS} connections) and upstream (node:http) on core 1.
Medians of ${rounds} rounds in turn, ${RUN_SECONDS} s each after ${WARM_UP_SECONDS} s of warm-up. CPU is user and system time of the proxy by the kernel's accounting.
router: authentication, policy, table and metrics on, access log off. The load side limits requests/s of the fast ones.
`);
    const byScenario: Record<string, Record<string, Sample>> = {};
    for (const scenario of SCENARIOS) {
      const samples = new Map<string, Sample[]>(contenders.map(({ name }) => [name, []]));
      for (let round = 0; round < rounds; round++)
        for (const contender of contenders) samples.get(contender.name)?.push(await load(contender, scenario.path));
      byScenario[scenario.name] = Object.fromEntries([...samples].map(([name, list]) => [name, middle(list)]));
      console.log(table(scenario.name, byScenario[scenario.name] ?? {}));
    }
    const top = byScenario[SCENARIOS[0].name] ?? {};
    const pick = (field: keyof Sample) =>
      Object.fromEntries(Object.entries(top).map(([name, sample]) => [name, sample[field]]));
    return {
      cpuPerRequestUs: pick('cpuPerRequestUs'),
      requestsPerSecond: pick('requestsPerSecond'),
      scenarios: byScenario,
      rounds,
      versions: Object.fromEntries(contenders.map(({ name, version }) => [name, version])),
      residentMiB: Math.round(residentBytes(router.process.pid) / 2 ** 20),
      machine: machine(),
    };
  } finally {
    for (const each of started.reverse()) await each.stop();
    await cluster?.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** `serve` in front of the fake cluster, as one runs it: with a key, and everything on but the access log. */
async function startRouter(directory: string, cluster: FakeCluster): Promise<Contender> {
  const token = randomBytes(32).toString('base64url');
  const kubeconfig = join(directory, 'kubeconfig');
  const keys = join(directory, 'keys.json');
  writeFileSync(kubeconfig, cluster.kubeconfig);
  const sha256 = createHash('sha256').update(token).digest('hex');
  writeFileSync(keys, JSON.stringify({ keys: [{ id: 'bench', sha256, tenant: 'default', scopes: ['route'] }] }));
  const [port, adminPort] = [await freePort(), await freePort()];
  const commandLine = [
    join(projectRoot, 'src/cli/main.ts'),
    'serve',
    ...['--listen', `127.0.0.1:${port}`, '--admin-listen', `127.0.0.1:${adminPort}`],
    ...['--kubeconfig', kubeconfig, '--api-keys-file', keys],
  ];
  const measured = await startMeasured(process.execPath, commandLine, port, { SANDBOX_ROUTER_ACCESS_LOG: 'false' });
  while (!(await fetch(`http://127.0.0.1:${adminPort}/readyz`)).ok) await delay(20);
  const headers = { authorization: `Bearer ${token}` };
  return { name: 'router', version: process.version, url: `http://127.0.0.1:${port}/box`, headers, process: measured };
}

function contenderOf({ name, version, port, process: measured }: Peer): Contender {
  return { name, version, url: `http://127.0.0.1:${port}`, headers: {}, process: measured };
}

async function load({ name, url, headers, process: measured }: Contender, path: string): Promise<Sample> {
  const options = { url: url + path, headers, connections: CONNECTIONS };
  await autocannon({ ...options, duration: WARM_UP_SECONDS });
  const before = cpuTimeUs(measured.pid);
  const result = await autocannon({ ...options, duration: RUN_SECONDS });
  const cpuUs = cpuTimeUs(measured.pid) - before;
  const answered = result['2xx'];
  if (answered === 0 || result.non2xx > 0 || result.errors > 0)
    throw new Error(
      `${name}: ${answered} answers of status 2xx, ${result.non2xx} others and ${result.errors} errors.\n${measured.output()}`,
    );
  return {
    cpuPerRequestUs: cpuUs / answered,
    requestsPerSecond: answered / result.duration,
    p99Ms: result.latency.p99,
  };
}

function middle(samples: Sample[]): Sample {
  const of = (field: keyof Sample) => Math.round(median(samples.map((sample) => sample[field])) * 10) / 10;
  return { cpuPerRequestUs: of('cpuPerRequestUs'), requestsPerSecond: of('requestsPerSecond'), p99Ms: of('p99Ms') };
}

function table(scenario: string, byName: Record<string, Sample>): string {
  const reference = byName.haproxy?.cpuPerRequestUs;
  const lines = Object.entries(byName).map(([name, { cpuPerRequestUs, requestsPerSecond, p99Ms }]) => {
    const ratio = reference === undefined ? '' : `${(cpuPerRequestUs / reference).toFixed(2)} ×`;
    const figures = [cpuPerRequestUs.toFixed(1), requestsPerSecond.toFixed(0), p99Ms.toFixed(1), ratio];
    return `${name.padEnd(14)}${figures.map((figure) => figure.padStart(15)).join('')}`;
  });
  const head = ['CPU µs/request', 'requests/s', 'p99 ms', reference === undefined ? '' : 'CPU to haproxy'];
  return `${scenario.padEnd(14)}${head.map((title) => title.padStart(15)).join('')}\n${lines.join('\n')}\n`;
}
