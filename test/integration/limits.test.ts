import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { LEASES, type Lease, NAMESPACES } from '../../src/kubernetes/index.ts';
import { rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, routerReady } from './world.ts';

/** An hour's worth at once, and next to nothing afterwards: what is let in can be counted exactly. */
const CONFIGURATION = `
tenants:
  default: { namespaces: "*" }
  tenant-a:
    limits: { requestsPerSecond: 0.01, burst: 30, concurrency: 500 }
  tenant-b:
    limits: { bytesPerSecond: 200000, maxBodyBytes: 100000, webSockets: 2 }
    sandboxLimits: { webSockets: 1 }
`;

describe('limits with several real routers', { skip: missingTool('etcd', 'kube-apiserver'), timeout: 200_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-limits-'));
  const file = join(directory, 'sandbox-router.yaml');
  let world: ClusterWorld;
  const routers: ServeProcess[] = [];

  before(async () => {
    world = await clusterWorld();
    const { client } = world;
    for (const name of ['tenant-a', 'tenant-b', 'agent-sandbox-system'])
      await client.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    for (const [namespace, name] of [
      ['tenant-a', 'box'],
      ['tenant-b', 'box'],
      ['tenant-b', 'other'],
      ['tenant-b', 'third'],
    ] as const)
      await createReady(client, echoSandbox(name, { namespace }));
    writeFileSync(file, CONFIGURATION);
    for (let index = 0; index < 3; index++) {
      const router = await world.anotherRouter([
        '--config',
        file,
        '--rate-limit-fields',
        'always',
        '--shutdown-delay',
        '0s',
      ]);
      routers.push(router);
    }
    await Promise.all(routers.map(routerReady));
  });
  after(async () => {
    await Promise.all(routers.map((router) => router.stop('SIGKILL')));
    await world?.close();
    rmSync(directory, { recursive: true });
  });

  const sharedBy = async ({ adminUrl }: ServeProcess) =>
    ((await (await fetch(`${adminUrl}/readyz`)).json()) as { limitsSharedBy: number }).limitsSharedBy;
  const allKnow = (alive: ServeProcess[]) =>
    until(`${alive.length} routers know of each other`, async () =>
      (await Promise.all(alive.map(sharedBy))).every((count) => count === alive.length),
    );
  const send = (router: ServeProcess, token: string, path: string, more: object = {}) =>
    rawRequest(router.url, { path, headers: { authorization: `Bearer ${token}` }, ...more });

  it('divide by the number of those that live, each with a Lease of its own', async () => {
    await allKnow(routers);
    const { items } = await world.client.list<Lease>(LEASES, { namespace: 'agent-sandbox-system' });
    const slots = items.filter(({ metadata }) => metadata.name.startsWith('sandbox-router-replica-'));
    assert.deepEqual(
      slots.map(({ metadata }) => metadata.name).sort(),
      [0, 1, 2].map((slot) => `sandbox-router-replica-${slot}`),
    );
    // Buckets are full anew with their new size.
    const text = CONFIGURATION.replace('burst: 30', 'burst: 12');
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
    const { a } = world.tenantTokens;
    await Promise.all(
      routers.map((router) =>
        until('the file is in force', async () => {
          const answer = await send(router, a, '/box/');
          return answer.headers.get('ratelimit-policy')?.[0]?.startsWith('"tenant-requests";q=4;');
        }),
      ),
    );
    const letIn: number[] = [];
    for (const router of routers) {
      let count = 0;
      for (let index = 0; index < 8; index++) if ((await send(router, a, '/box/')).status === 200) count++;
      letIn.push(count);
    }
    assert.ok(
      letIn.every((count) => count <= 4),
      letIn.join(),
    );
    const [refused] = await Promise.all([send(routers[0] as ServeProcess, a, '/box/')]);
    assert.equal(refused.status, 429);
    assert.equal(refused.headers.get('ratelimit-policy')?.[0], '"tenant-requests";q=4;w=1200');
    assert.match(refused.headers.get('ratelimit')?.[0] ?? '', /^"tenant-requests";r=0;t=\d+$/);
    assert.ok(Number(refused.headers.get('retry-after')?.[0]) > 1);
  });

  it('are shared by fewer as soon as one goes', async () => {
    const gone = routers.pop() as ServeProcess;
    await gone.stop();
    await allKnow(routers);
  });

  it('bound bodies, declared or not', async () => {
    const [router] = routers as [ServeProcess];
    const { b } = world.tenantTokens;
    const declared = await send(router, b, '/box/', { method: 'POST', body: 'x'.repeat(100_001) });
    assert.deepEqual([declared.status, JSON.parse(declared.body).code], [413, 'body_too_large']);
    const chunked = (bytes: number) =>
      new Promise<number>((resolve, reject) => {
        const headers = { authorization: `Bearer ${b}`, 'transfer-encoding': 'chunked' };
        const request = httpRequest(`${router.url}/box/`, { method: 'POST', headers, agent: false }, (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        });
        request.on('error', reject);
        for (let sent = 0; sent < bytes; sent += 10_000) request.write('x'.repeat(10_000));
        request.end();
      });
    assert.equal(await chunked(50_000), 200);
    assert.equal(await chunked(120_000), 413);
  });

  it('bound open WebSockets of tenant and sandbox, and let go of those that closed', async () => {
    const alone = await world.anotherRouter(['--config', file, '--lease-namespace', 'default']);
    try {
      await routerReady(alone);
      const open = (sandbox: string) =>
        new Promise<WebSocket | number>((resolve) => {
          const headers = { authorization: `Bearer ${world.tenantTokens.b}` };
          const socket = new WebSocket(`${alone.url.replace('http', 'ws')}/${sandbox}/ws`, { headers });
          socket.on('open', () => resolve(socket));
          socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0));
          socket.on('error', (error) => resolve(`${error}` as never));
        });
      const first = await open('box');
      assert.ok(first instanceof WebSocket, String(first));
      assert.equal(await open('box'), 429, 'of one sandbox');
      assert.ok((await open('other')) instanceof WebSocket);
      assert.equal(await open('third'), 429, 'of the tenant');
      first.close();
      await until('there is room again', async () => (await open('third')) instanceof WebSocket);
    } finally {
      await alone.stop('SIGKILL');
    }
  });

  it('bound bandwidth, and cost nobody anything who has no such limit', async () => {
    const alone = await world.anotherRouter(['--config', file, '--lease-namespace', 'kube-system']);
    try {
      await routerReady(alone);
      const startedMs = performance.now();
      const answer = await send(alone, world.tenantTokens.b, '/box/bytes?n=600000');
      assert.equal(answer.status, 200);
      assert.equal(answer.body.length, 600_000);
      // A second's worth at once, and two seconds for the rest; nothing bounds a loaded machine from above.
      assert.ok(performance.now() - startedMs > 1500, `${performance.now() - startedMs} ms`);
    } finally {
      await alone.stop('SIGKILL');
    }
  });
});
