import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import WebSocket from 'ws';
import { createHttpResourceClient, loadKubeConfig, SANDBOXES, type Sandbox } from '../src/kubernetes/index.ts';
import { projectRoot } from '../test/support/checkout.ts';
import { freePort } from '../test/support/free-port.ts';
import { programSandbox } from '../test/support/program-sandbox.ts';
import { startServe, writeKeys } from '../test/support/serve.ts';
import { until } from '../test/support/until.ts';
import { startUp } from '../test/support/up.ts';
import type { BenchOptions } from './run.ts';
import { residentBytes } from './support/processes.ts';
import { machine } from './support/statistics.ts';

export const description = 'memory that 500 sleeping WebSockets of 50 paused sandboxes cost a router';

const SANDBOX_COUNT = 50;
const SOCKETS_EACH = 10;
const ALL_SOCKETS = SANDBOX_COUNT * SOCKETS_EACH;
/** What a router has grown by is told once it stopped growing. */
const SETTLE_MS = 3000;

/** Fifty sandboxes of the process runtime, and `serve` in front of them: the memory is that of a router alone. */
export async function run(_options: BenchOptions): Promise<Record<string, unknown>> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const command = [process.execPath, join(projectRoot, 'src/cli/main.ts'), 'up'];
  const up = await startUp({ directory, command, runtime: 'process' });
  const keys = writeKeys(directory, { bench: { tenant: 'default' } });
  // Garbage would be told for memory.
  const node = { options: ['--expose-gc'], environment: {} };
  const router = await startServe({ kubeconfig: up.kubeconfig, keys: keys.path, node });
  const client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
  const headers = { authorization: `Bearer ${keys.tokens.bench}` };
  const names = Array.from({ length: SANDBOX_COUNT }, (_, index) => `sleeper-${index}`);
  const sockets: WebSocket[] = [];
  const open = async (name: string) => {
    const socket = new WebSocket(`${router.url.replace('http', 'ws')}/${name}/`, { headers, perMessageDeflate: false });
    await once(socket, 'open');
    return socket;
  };
  const settled = async () => {
    await delay(SETTLE_MS);
    return residentBytes(router.pid);
  };
  const sleeping = async () =>
    Number(
      /^sandbox_router_sleeping_sockets (\d+)/m.exec(await (await fetch(`${router.adminUrl}/metrics`)).text())?.[1],
    );
  try {
    console.log(`${ALL_SOCKETS} WebSockets over ${SANDBOX_COUNT} sandboxes of the process runtime, through "serve" in a process of its own:
  resident memory of that process before any is open, with all open, and with all asleep after a ping of each
`);
    for (const name of names) await client.create(SANDBOXES, await sleeper(name));
    for (const name of names) await isIn(client, name, 'Ready');
    // Everything is compiled by the first that was open, asleep and woken.
    const first = await open('sleeper-0');
    await speak(first);
    first.terminate();
    const beforeBytes = await settled();
    for (const name of names)
      sockets.push(...(await Promise.all(Array.from({ length: SOCKETS_EACH }, () => open(name)))));
    const openBytes = await settled();
    const spec = { operatingMode: 'Suspended' };
    for (const name of names)
      await client.patch(SANDBOXES, { namespace: 'default', name }, { spec }, { type: 'merge' });
    for (const name of names) await isIn(client, name, 'Suspended');
    await until('all sleep', async () => (await sleeping()) === ALL_SOCKETS);
    await Promise.all(sockets.map((socket) => Promise.all([once(socket, 'pong'), socket.ping()])));
    const asleepBytes = await settled();
    const startedAt = performance.now();
    await Promise.all(sockets.map(speak));
    const wokenMs = performance.now() - startedAt;
    const mebibytes = (bytes: number) => Math.round((bytes / 2 ** 20) * 10) / 10;
    const figures = {
      sockets: ALL_SOCKETS,
      sandboxes: SANDBOX_COUNT,
      openMiB: mebibytes(openBytes - beforeBytes),
      asleepMiB: mebibytes(asleepBytes - beforeBytes),
      asleepKiBEach: Math.round((asleepBytes - beforeBytes) / 1024 / ALL_SOCKETS),
      allAnsweredAfterMs: Math.round(wokenMs),
      machine: machine(),
    };
    console.log(`                   MiB more than before
all open           ${figures.openMiB.toFixed(1).padStart(8)}
all asleep         ${figures.asleepMiB.toFixed(1).padStart(8)}   (${figures.asleepKiBEach} KiB each)
a message on each: every sandbox is woken and every message answered after ${figures.allAnsweredAfterMs} ms`);
    return figures;
  } finally {
    for (const socket of sockets) socket.terminate();
    await client.close();
    await router.stop('SIGTERM');
    await up.interrupt();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function speak(socket: WebSocket): Promise<void> {
  await Promise.all([once(socket, 'message'), socket.send('hello')]);
}

async function isIn(client: ReturnType<typeof createHttpResourceClient>, name: string, type: string): Promise<void> {
  await until(
    `${name} is ${type}`,
    async () => {
      const { status } = await client.get<Sandbox>(SANDBOXES, { namespace: 'default', name });
      return status?.conditions?.some((condition) => condition.type === type && condition.status === 'True');
    },
    120_000,
  );
}

async function sleeper(name: string): Promise<Sandbox> {
  const port = await freePort();
  return programSandbox({ name, program: 'sleeper-app.mjs', port, environment: { SLEEPER_PORT: String(port) } });
}
