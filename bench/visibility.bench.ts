import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  isApiError,
  NAME_HASH_LABEL,
  nameHash,
  PODS,
  type Pod,
  SANDBOXES,
  type Sandbox,
} from '../src/kubernetes/index.ts';
import { freePort } from '../test/support/free-port.ts';
import { startKubeApiServer } from '../test/support/kube-apiserver.ts';
import { startServe, writeKeys } from '../test/support/serve.ts';
import { prepareTools } from '../test/support/tools.ts';
import type { BenchOptions } from './run.ts';
import { startMeasured } from './support/processes.ts';
import { machine, percentile } from './support/statistics.ts';

export const description = 'from Ready in a real API server to the first routed request, at 300 sandboxes a second';

/** The slower rate shows what the router needs where the API server is not at its limit. */
const RATES_PER_SECOND = [100, 300];
const SECONDS = 10;
/** Pause between two tries of a sandbox that the router has not heard of yet. Shorter ones would keep the machine busy with themselves. */
const RETRY_MS = 10;

/** What costs the API server CPU and has nothing to do with what is measured: one machine stands for a control plane and its clients. */
const LEAN_API = [
  '--profiling=false',
  '--enable-priority-and-fairness=false',
  '--max-requests-inflight=4000',
  '--max-mutating-requests-inflight=2000',
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
const LEAN_GO = { GOGC: '400' };

/** Creates sandboxes with pods at a fixed rate and asks for each from the moment on in which the API server has taken its Ready status. */
export async function run({ rounds = SECONDS }: BenchOptions): Promise<Record<string, unknown>> {
  await prepareTools(['etcd', 'kube-apiserver']);
  console.log(`Real kube-apiserver and etcd, router, upstream and this load together on one machine: sandboxes at ${RATES_PER_SECOND.join(' and ')}/s for
${rounds} s each, each a Sandbox, a Pod and the Pod's Ready status. Measured from the API server's answer to the status to the router's first 200; a request that comes before
the router knows is held, and one for a sandbox that it has not heard of is tried again after ${RETRY_MS} ms.
The API server runs without admission plugins that look at nothing here, without priority and fairness, and both it and etcd collect garbage less often (GOGC=400).
`);
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const port = await freePort();
  const script = join(dirname(fileURLToPath(import.meta.url)), 'support/upstream.ts');
  const upstream = await startMeasured(process.execPath, [script, String(port), '0.0.0.0'], port);
  const kube = await startKubeApiServer({ directStore: true, apiFlags: LEAN_API, environment: LEAN_GO });
  const keys = writeKeys(directory, { bench: { tenant: 'default' } });
  const router = await startServe({
    kubeconfig: kube.kubeconfigPath,
    keys: keys.path,
    flags: ['--lease-namespace', 'default', '--shutdown-delay', '0s'],
    node: { options: [], environment: { SANDBOX_ROUTER_ACCESS_LOG: 'false' } },
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const ask = (name: string) =>
    new Promise<number>((resolve, reject) => {
      const headers = { authorization: `Bearer ${keys.tokens.bench}`, 'x-sandbox-timeout': '5' };
      get(`${router.url}/${name}/`, { agent, headers }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0));
      }).on('error', reject);
    });

  async function one(index: number): Promise<{ visibleMs: number; readyAtMs: number }> {
    const name = `visible-${index}`;
    const key = { namespace: 'default', name };
    const created = await kube.client.create<Sandbox>(SANDBOXES, sandboxOf(name, port));
    await kube.client.create<Pod>(PODS, podOf(name, created.metadata.uid ?? ''));
    const address = `127.${40 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
    await kube.client.patch(PODS, key, { status: readyStatus(address) }, { type: 'merge', subresource: 'status' });
    const readyAtMs = performance.now();
    for (;;) {
      if ((await ask(name)) === 200) return { visibleMs: performance.now() - readyAtMs, readyAtMs };
      await delay(RETRY_MS);
    }
  }

  try {
    while (!(await fetch(`${router.adminUrl}/readyz`)).ok) await delay(20);
    for (let index = 0; index < 50; index++) await one(1_000_000 + index);
    const byRate: Record<string, Visibility> = {};
    for (const [position, perSecond] of RATES_PER_SECOND.entries()) {
      const startMs = performance.now();
      const results: Promise<{ visibleMs: number; readyAtMs: number }>[] = [];
      for (let index = 0; index < perSecond * rounds; index++) {
        const waitMs = startMs + (index * 1000) / perSecond - performance.now();
        if (waitMs > 1) await delay(waitMs);
        results.push(one(position * 100_000 + index));
      }
      byRate[`${perSecond}/s`] = summary(await Promise.all(results), startMs);
    }
    console.log(`due${['created/s', 'p50 ms', 'p99 ms', 'max ms'].map((title) => title.padStart(12)).join('')}`);
    for (const [rate, figures] of Object.entries(byRate))
      console.log(
        rate.padEnd(3) +
          Object.values(figures)
            .map((value) => value.toFixed(1).padStart(12))
            .join(''),
      );
    return { byRate, machine: machine() };
  } finally {
    agent.destroy();
    await router.stop();
    await kube.close().catch((error) => {
      if (!isApiError(error)) throw error;
    });
    await upstream.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** From the API server's word to the router's answer, in milliseconds, and how fast the API server took them. */
interface Visibility {
  createdPerSecond: number;
  visibleP50Ms: number;
  visibleP99Ms: number;
  visibleMaxMs: number;
}

function summary(samples: { visibleMs: number; readyAtMs: number }[], startMs: number): Visibility {
  const visible = samples.map(({ visibleMs }) => visibleMs);
  const lastReadyMs = Math.max(...samples.map(({ readyAtMs }) => readyAtMs));
  const round = (value: number) => Math.round(value * 10) / 10;
  return {
    createdPerSecond: round((samples.length * 1000) / (lastReadyMs - startMs)),
    visibleP50Ms: round(percentile(visible, 0.5)),
    visibleP99Ms: round(percentile(visible, 0.99)),
    visibleMaxMs: round(Math.max(...visible)),
  };
}

function sandboxOf(name: string, port: number): Sandbox {
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: { namespace: 'default', name, annotations: { 'sandbox-router/port': String(port) } },
    spec: { podTemplate: { spec: { containers: [{ name: 'a', image: 'example.test/a' }] } } },
  } as Sandbox;
}

function podOf(name: string, uid: string): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace: 'default',
      name,
      labels: { [NAME_HASH_LABEL]: nameHash(name), 'sandbox-router/egress': 'none' },
      ownerReferences: [{ apiVersion: 'agents.x-k8s.io/v1beta1', kind: 'Sandbox', name, uid, controller: true }],
    },
    spec: { nodeName: 'bench', containers: [{ name: 'a', image: 'example.test/a' }] },
  };
}

function readyStatus(address: string) {
  const lastTransitionTime = new Date().toISOString().replace(/\.\d+/, '');
  return {
    phase: 'Running',
    podIP: address,
    podIPs: [{ ip: address }],
    conditions: [{ type: 'Ready', status: 'True', lastTransitionTime }],
  };
}
