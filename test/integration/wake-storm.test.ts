import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Pool } from 'undici';
import { NAMESPACES, SANDBOXES, type Sandbox } from '../../src/kubernetes/index.ts';
import { type ServeProcess, startServe, writeKeys } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, routerReady } from './world.ts';

const REQUESTS_EACH = 20;
const AT_ONCE = 4;
/** Budget of the held requests; the process itself may grow by no more. */
const HELD_BYTES = 96 << 20;

describe('a storm on 100 paused sandboxes', { skip: missingTool('etcd', 'kube-apiserver'), timeout: 280_000 }, () => {
  let world: ClusterWorld;
  let router: ServeProcess;
  let directory: string;
  let tokens: { many: string; few: string };
  const names = { many: range('many', 90), few: range('few', 10) };

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sandbox-router-storm-'));
    world = await clusterWorld({ startMs: 300 });
    const keys = writeKeys(directory, { many: { tenant: 'tenant-many' }, few: { tenant: 'tenant-few' } });
    tokens = keys.tokens;
    const config = join(directory, 'sandbox-router.yaml');
    writeFileSync(config, 'tenants:\n  tenant-many: {}\n  tenant-few: {}\n');
    router = await startServe({
      kubeconfig: world.kube.kubeconfigPath,
      keys: keys.path,
      flags: [
        ...['--config', config, '--concurrent-wakes', String(AT_ONCE), '--held-bytes', String(HELD_BYTES)],
        ...['--shutdown-delay', '0s', '--lease-namespace', 'default'],
      ],
    });
    await routerReady(router);
    for (const namespace of ['tenant-many', 'tenant-few'])
      await world.client.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
    for (const [tenant, list] of Object.entries(names))
      for (const name of list) {
        const sandbox = echoSandbox(name, { namespace: `tenant-${tenant}` });
        await world.client.create(SANDBOXES, { ...sandbox, spec: { ...sandbox.spec, operatingMode: 'Suspended' } });
      }
    await until('the router knows them all', async () => (await metric('sandbox_router_table_sandboxes')) === 100);
  });
  after(async () => {
    await router?.stop('SIGKILL');
    await world?.close();
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
  });

  const metric = async (name: string): Promise<number> =>
    Number(new RegExp(`^${name} (\\S+)`, 'm').exec(await (await fetch(`${router.adminUrl}/metrics`)).text())?.[1]);

  it('answers every request with 200, at most 4 wakes at a time, fairly, and within its memory', async () => {
    const pool = new Pool(router.url, { connections: 2000, headersTimeout: 120_000 });
    // What the process needs for its own code is no request's.
    const sandbox = echoSandbox('warm', { namespace: 'tenant-few' });
    await createReady(world.client, sandbox);
    const headers = { authorization: `Bearer ${tokens.few}` };
    for (let turn = 0; turn < 20; turn++)
      await Promise.all(range('', 50).map(async () => (await fetch(`${router.url}/warm/`, { headers })).arrayBuffer()));
    const residentBefore = await metric('process_resident_memory_bytes');
    /** Sandboxes that were asked to run, in order. */
    const woken: string[] = [];
    const watching = new AbortController();
    const watch = (async () => {
      const { resourceVersion } = await world.client.list(SANDBOXES);
      for await (const { object } of world.client.watch<Sandbox>(SANDBOXES, {
        resourceVersion,
        signal: watching.signal,
      })) {
        const { name } = object.metadata;
        if (object.spec?.operatingMode !== 'Running' || name === 'warm') continue;
        if (!woken.includes(name)) woken.push(name);
      }
    })();
    let mostHeld = 0;
    let mostHeldBytes = 0;
    let residentThen = 0;
    const sampling = setInterval(async () => {
      const text = await (await fetch(`${router.adminUrl}/metrics`)).text();
      const read = (name: string) => Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1]);
      const held = read('sandbox_router_held_requests');
      // Later it grows by what V8 has not collected yet of requests that are answered.
      if (held > mostHeld) residentThen = read('process_resident_memory_bytes');
      mostHeld = Math.max(mostHeld, held);
      mostHeldBytes = Math.max(mostHeldBytes, read('sandbox_router_held_bytes'));
    }, 100);

    const answered: string[] = [];
    const ask = async (tenant: 'many' | 'few', name: string) => {
      const { statusCode, body } = await pool.request({
        path: `/${name}/`,
        method: 'GET',
        headers: { authorization: `Bearer ${tokens[tenant]}` },
      });
      const text = await body.text();
      assert.equal(statusCode, 200, text);
      assert.equal((JSON.parse(text) as { name: string }).name, name);
      if (!answered.includes(name)) answered.push(name);
    };
    const all: Promise<void>[] = [];
    // The greedy tenant comes first with all it has.
    for (const tenant of ['many', 'few'] as const)
      for (const name of names[tenant]) for (let turn = 0; turn < REQUESTS_EACH; turn++) all.push(ask(tenant, name));
    await Promise.all(all);
    clearInterval(sampling);
    watching.abort();
    await watch.catch(() => {});
    await pool.close();

    assert.equal(answered.length, 100);
    assert.equal(woken.length, 100);
    const mostAtOnce = world.kubelet.mostStarting();
    assert.ok(mostAtOnce <= AT_ONCE, `${mostAtOnce} wakes at once`);
    const turns = woken.map((name, index) => (name.startsWith('few') ? index : -1)).filter((index) => index >= 0);
    // Every second turn from when it came: the first turns were taken by then.
    const latest = 2 * names.few.length + 2 * AT_ONCE;
    assert.ok((turns.at(-1) ?? 0) <= latest, `turns of the small tenant: ${turns.join(', ')}`);
    console.log(
      `${mostAtOnce} wakes at once; turns of the small tenant: ${turns.join(' ')}; ${mostHeld} held, budgeted with ${megabytes(mostHeldBytes)}, grown by ${megabytes(residentThen - residentBefore)}`,
    );
    assert.ok(mostHeldBytes <= HELD_BYTES);
    const grownBytes = residentThen - residentBefore;
    assert.ok(grownBytes <= HELD_BYTES, `the process grew by ${grownBytes} bytes`);
    assert.equal(await metric('sandbox_router_held_requests'), 0);
  });
});

function range(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
