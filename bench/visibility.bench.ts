import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isApiError, loadKubeConfig } from '../src/kubernetes/index.ts';
import { freePort } from '../test/support/free-port.ts';
import { startKubeApiServer } from '../test/support/kube-apiserver.ts';
import { startServe, writeKeys } from '../test/support/serve.ts';
import { prepareTools } from '../test/support/tools.ts';
import type { BenchOptions } from './run.ts';
import { type CpuShares, startCpuShares } from './support/cpu-shares.ts';
import { createLeanConnections } from './support/lean-http.ts';
import { startMeasured } from './support/processes.ts';
import { createSandboxWrites } from './support/sandbox-writes.ts';
import { smallUpstream } from './support/small-upstream.ts';
import { machine, percentile } from './support/statistics.ts';

export const description = 'from Ready in a real API server to the first routed request, at 300 sandboxes a second';

/** The slower rate shows what the router needs where the API server is not at its limit. */
const RATES_PER_SECOND = [100, 300];
const SECONDS = 10;
/** A router that has run for a while has compiled what runs often; so has this load. */
const WARM_UP = { perSecond: 120, sandboxes: 1200 };
/** Pause between two tries of a sandbox that the router has not heard of yet. Shorter ones would keep the machine busy with themselves. */
const RETRY_MS = 10;
/** One that is long overdue is tried after this share of its time so far, which counts against the router: else those who wait take the CPU that they wait for. */
const RETRY_SHARE = 0.25;
/** A held request has one to itself: as many as nobody waits for. */
const ROUTER_CONNECTIONS = 1000;

/** What costs the API server CPU and has nothing to do with what is measured: one machine stands for a control plane and its clients. */
const LEAN_API = [
  '--profiling=false',
  '--enable-priority-and-fairness=false',
  '--max-requests-inflight=0',
  '--max-mutating-requests-inflight=0',
  `--disable-admission-plugins=${[
    ...['ServiceAccount', 'LimitRanger', 'ResourceQuota', 'Priority', 'DefaultTolerationSeconds', 'RuntimeClass'],
    ...['TaintNodesByCondition', 'PodSecurity', 'DefaultStorageClass', 'StorageObjectInUseProtection'],
    ...[
      'MutatingAdmissionWebhook',
      'ValidatingAdmissionWebhook',
      'MutatingAdmissionPolicy',
      'ValidatingAdmissionPolicy',
    ],
  ].join(',')}`,
];
/** A collection takes half a core for half a second, in which everything else queues. This is one in ten seconds or so. */
const LEAN_GO = { GOGC: '1500' };
/** It does not need more, and does with one core the same for less. */
const LEAN_STORE = { GOMAXPROCS: '1' };

/** Creates sandboxes with pods at a fixed rate and asks for each from the moment on in which the API server has taken its Ready status. */
export async function run({ rounds = SECONDS }: BenchOptions): Promise<Record<string, unknown>> {
  await prepareTools(['etcd', 'kube-apiserver']);
  console.log(`Real kube-apiserver and etcd, router, upstream and this load together on one machine: sandboxes at ${RATES_PER_SECOND.join(' and ')}/s for
${rounds} s each, each a Sandbox, a Pod and the Pod's Ready status. Measured from the API server's answer to the status to the router's first 200; a request that comes before
the router knows is held, and one for a sandbox that it has not heard of is tried again after ${RETRY_MS} ms, or a quarter of its time so far. ${WARM_UP.sandboxes} sandboxes at ${WARM_UP.perSecond}/s go before.
The API server runs without admission plugins that look at nothing here, without limits and fairness of requests, speaks to etcd over a Unix socket, and writes ask for no
validation of unknown fields, over eight connections; what is due beyond them waits. It and etcd collect garbage seldom (GOGC=${LEAN_GO.GOGC}), and etcd has one core (GOMAXPROCS=${LEAN_STORE.GOMAXPROCS}).
CPU is in percent of one core.
`);
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const port = await freePort();
  const [program, ...commandLine] = smallUpstream(port, directory);
  const upstream = await startMeasured(program, commandLine, port);
  const kube = await startKubeApiServer({
    directStore: true,
    apiFlags: LEAN_API,
    environment: LEAN_GO,
    storeEnvironment: LEAN_STORE,
  });
  const keys = writeKeys(directory, { bench: { tenant: 'default' } });
  const router = await startServe({
    kubeconfig: kube.kubeconfigPath,
    keys: keys.path,
    flags: ['--lease-namespace', 'default', '--shutdown-delay', '0s'],
    node: { options: [], environment: { SANDBOX_ROUTER_ACCESS_LOG: 'false' } },
  });
  const writes = createSandboxWrites(loadKubeConfig({ path: kube.kubeconfigPath }), port);
  const routerPort = Number(new URL(router.url).port);
  const toRouter = createLeanConnections(() => connect(routerPort, '127.0.0.1'), ROUTER_CONNECTIONS);
  const head = `HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer ${keys.tokens.bench}\r\nx-sandbox-timeout: 5\r\n\r\n`;

  async function one(index: number): Promise<Sample> {
    const name = `visible-${index}`;
    await writes.makeReady(name, `127.${40 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`);
    const readyAtMs = performance.now();
    for (let tries = 1; ; tries++) {
      const { status } = await toRouter.send(`GET /${name}/ ${head}`);
      if (status === 200) return { visibleMs: performance.now() - readyAtMs, readyAtMs, tries };
      await delay(Math.max(RETRY_MS, (performance.now() - readyAtMs) * RETRY_SHARE));
    }
  }

  /** Starts one when it is due, however many are under way. */
  async function atRate(perSecond: number, count: number, firstIndex: number): Promise<Sample[]> {
    const startMs = performance.now();
    const samples: Promise<Sample>[] = [];
    for (let index = 0; index < count; index++) {
      const waitMs = startMs + (index * 1000) / perSecond - performance.now();
      if (waitMs > 1) await delay(waitMs);
      samples.push(one(firstIndex + index));
    }
    return Promise.all(samples);
  }

  try {
    while (!(await fetch(`${router.adminUrl}/readyz`)).ok) await delay(20);
    await atRate(WARM_UP.perSecond, WARM_UP.sandboxes, 1_000_000);
    const byRate: Record<string, Visibility> = {};
    for (const [position, perSecond] of RATES_PER_SECOND.entries()) {
      const pids = { ...kube.pids(), router: router.pid, upstream: upstream.pid, load: process.pid };
      const cpu = startCpuShares(pids);
      const startMs = performance.now();
      const samples = await atRate(perSecond, perSecond * rounds, position * 100_000);
      byRate[`${perSecond}/s`] = { ...summary(samples, startMs), cpuPercent: cpu() };
    }
    console.log(table(byRate));
    return { byRate, machine: machine() };
  } finally {
    writes.close();
    toRouter.close();
    await router.stop();
    await kube.close().catch((error) => {
      if (!isApiError(error)) throw error;
    });
    await upstream.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

interface Sample {
  visibleMs: number;
  readyAtMs: number;
  /** Requests until the first 200. */
  tries: number;
}

/** From the API server's word to the router's answer, in milliseconds, and how fast the API server took them. */
interface Visibility {
  createdPerSecond: number;
  visibleP50Ms: number;
  visibleP99Ms: number;
  visibleMaxMs: number;
  triesMean: number;
  cpuPercent: CpuShares<'apiServer' | 'etcd' | 'router' | 'upstream' | 'load'>;
}

function summary(samples: Sample[], startMs: number): Omit<Visibility, 'cpuPercent'> {
  const visible = samples.map(({ visibleMs }) => visibleMs);
  const lastReadyMs = Math.max(...samples.map(({ readyAtMs }) => readyAtMs));
  const round = (value: number) => Math.round(value * 10) / 10;
  return {
    createdPerSecond: round((samples.length * 1000) / (lastReadyMs - startMs)),
    visibleP50Ms: round(percentile(visible, 0.5)),
    visibleP99Ms: round(percentile(visible, 0.99)),
    visibleMaxMs: round(Math.max(...visible)),
    triesMean: round(samples.reduce((sum, { tries }) => sum + tries, 0) / samples.length),
  };
}

function table(byRate: Record<string, Visibility>): string {
  const rows = Object.entries(byRate).map(([rate, { cpuPercent, ...figures }]) => [
    rate,
    ...Object.values(figures).map((value) => value.toFixed(1)),
    Object.entries(cpuPercent)
      .map(([name, percent]) => `${name} ${percent}`)
      .join(', '),
  ]);
  const titles = ['due', 'created/s', 'p50 ms', 'p99 ms', 'max ms', 'tries', '  CPU'];
  return [titles, ...rows]
    .map((cells) =>
      cells.map((cell, index) => (index === 6 ? `  ${cell}` : cell.padStart(index === 0 ? 5 : 11))).join(''),
    )
    .join('\n');
}
