import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import WebSocket from 'ws';
import { PODS, type Pod, type ResourceType, SANDBOXES, type Sandbox } from '../../src/kubernetes/index.ts';
import { startCuttableProxy } from '../support/cuttable-proxy.ts';
import { rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { steadyLoad } from '../support/steady-load.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause, podOf, routerReady } from './world.ts';

const CLUSTER_ROLES: ResourceType = {
  group: 'rbac.authorization.k8s.io',
  version: 'v1',
  plural: 'clusterroles',
  kind: 'ClusterRole',
  namespaced: false,
};
const CLUSTER_ROLE_BINDINGS: ResourceType = {
  ...CLUSTER_ROLES,
  plural: 'clusterrolebindings',
  kind: 'ClusterRoleBinding',
};

describe('on a real API server, when things go wrong', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 300_000,
}, () => {
  let world: ClusterWorld;
  const extra: ServeProcess[] = [];

  before(async () => {
    world = await clusterWorld({
      // What a router missed while it was cut off is soon not to be had any more: it must list again.
      apiFlags: ['--etcd-compaction-interval=1s'],
      skips: ({ metadata }) => metadata.name === 'stuck',
    });
  });
  after(async () => {
    for (const router of extra) await router.stop('SIGKILL');
    await world?.close();
  });

  const get = (path: string, { url = world.url, token = world.token, timeout = '' } = {}) =>
    rawRequest(url, {
      path,
      headers: { authorization: `Bearer ${token}`, ...(timeout === '' ? {} : { 'x-sandbox-timeout': timeout }) },
    });
  const problemOf = ({ body }: { body: string }) => JSON.parse(body) as { code: string; detail: string };
  const generationOf = async (name: string) =>
    (await world.client.get<Sandbox>(SANDBOXES, { namespace: 'default', name })).metadata.generation ?? 0;

  it('three routers and 300 requests at once make one resume, and all are answered', async () => {
    const routers = [world.router, await world.anotherRouter(), await world.anotherRouter()];
    extra.push(...routers.slice(1));
    await Promise.all(routers.map(routerReady));
    await createReady(world.client, echoSandbox('shared'));
    await pause(world.client, 'shared');
    await until('all routers know that it is paused', async () => {
      const states = await Promise.all(
        routers.map(
          async ({ url }) => problemOf(await get('/-/v1/sandboxes/shared', { url })) as unknown as { state: string },
        ),
      );
      return states.every(({ state }) => state === 'paused');
    });
    const before_ = await generationOf('shared');
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, index) => get('/shared/', { url: routers[index % 3]?.url ?? '' })),
    );
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    assert.equal(await generationOf('shared'), before_ + 1, 'the spec changed once');
    assert.deepEqual(
      answers.map(({ body }) => (JSON.parse(body) as { n: number }).n).sort((left, right) => left - right),
      Array.from({ length: 300 }, (_, index) => index + 1),
      'each request reached the sandbox once',
    );
  });

  it('a wake that RBAC refuses says so, and changes nothing', async () => {
    const rules = [
      { apiGroups: ['agents.x-k8s.io', ''], resources: ['sandboxes', 'pods'], verbs: ['get', 'list', 'watch'] },
    ];
    await world.client.create(CLUSTER_ROLES, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'read-only-router' },
      rules,
    } as never);
    await world.client.create(CLUSTER_ROLE_BINDINGS, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'read-only-router' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'read-only-router' },
      subjects: [{ kind: 'User', name: 'router', apiGroup: 'rbac.authorization.k8s.io' }],
    } as never);
    const router = await world.anotherRouter([], world.kube.kubeconfigFor('router'));
    extra.push(router);
    await routerReady(router);
    await createReady(world.client, echoSandbox('guarded'));
    assert.equal((await get('/guarded/', { url: router.url })).status, 200);
    await pause(world.client, 'guarded');
    const generation = await generationOf('guarded');
    const answer = await until('the router knows that it is paused', async () => {
      const found = await get('/guarded/', { url: router.url, timeout: '5' });
      return found.status === 503 ? found : undefined;
    });
    assert.equal(problemOf(answer).code, 'wake_failed');
    assert.match(problemOf(answer).detail, /cannot patch resource/);
    assert.ok(Number(answer.headers.get('retry-after')?.[0]) >= 1);
    assert.equal(await generationOf('guarded'), generation);
  });

  it('a sandbox that its controller can not start is no reason to wait', async () => {
    // Somebody else's pod stands where the sandbox's own should.
    await world.client.create(PODS, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'blocked', namespace: 'default' },
      spec: { nodeName: 'nowhere', containers: [{ name: 'other', image: 'example.test/other' }] },
    } as Pod);
    await world.client.create(SANDBOXES, echoSandbox('blocked'));
    await until('the router knows it', async () => (await get('/-/v1/sandboxes/blocked')).status === 200);
    const answer = await get('/blocked/', { timeout: '10' });
    assert.equal(answer.status, 503);
    assert.equal(problemOf(answer).code, 'wake_failed');
    assert.match(problemOf(answer).detail, /pod/i);
  });

  it('a sandbox whose pod never gets ready is waited for, within the deadline of the caller', async () => {
    await world.client.create(SANDBOXES, echoSandbox('stuck'));
    await until('the router knows it', async () => (await get('/-/v1/sandboxes/stuck')).status === 200);
    const startedAt = performance.now();
    const answer = await get('/stuck/', { timeout: '2' });
    const elapsedMs = performance.now() - startedAt;
    assert.equal(answer.status, 503);
    assert.equal(problemOf(answer).code, 'waking');
    assert.ok(answer.headers.has('retry-after'));
    assert.ok(elapsedMs >= 1000 && elapsedMs < 2500, `${elapsedMs} ms`);
    await world.client.delete(SANDBOXES, { namespace: 'default', name: 'stuck' });
  });

  it('without the API server the table keeps serving, says its age, and catches up afterwards', async (test) => {
    await createReady(world.client, echoSandbox('steady'));
    await until('it is routed', async () => (await get('/steady/')).status === 200);
    const load = steadyLoad(() => get('/steady/'));
    test.after(load.stop);
    await world.kube.stopApi();
    await delay(4000);
    const readiness = (await (await fetch(`${world.adminUrl}/readyz`)).json()) as { tableAgeSeconds: number };
    assert.ok(readiness.tableAgeSeconds >= 3, JSON.stringify(readiness));
    const paused = await get('/shared/');
    assert.equal(paused.status, 200, 'what runs is still reached');
    await world.kube.startApi();
    await createReady(world.client, echoSandbox('newcomer'));
    await until('what came meanwhile is routed', async () => (await get('/newcomer/')).status === 200, 45_000);
    const { statuses, count } = await load.stop();
    assert.deepEqual(statuses, [200]);
    assert.ok(count > 100, `${count} requests`);
    assert.equal((await fetch(`${world.adminUrl}/readyz`)).status, 200);
  });

  it('a watch that is cut again and again, and then for long, costs no change and no request', async (test) => {
    const proxy = await startCuttableProxy(Number(new URL(world.kube.url).port));
    const router = await world.anotherRouter([], world.kube.kubeconfigFor('admin', `https://127.0.0.1:${proxy.port}`));
    extra.push(router);
    test.after(proxy.close);
    await routerReady(router);
    await until('it is routed', async () => (await get('/steady/', { url: router.url })).status === 200);
    const load = steadyLoad(() => get('/steady/', { url: router.url }));
    test.after(load.stop);
    for (let round = 0; round < 10; round++) {
      await createReady(world.client, echoSandbox(`cut-${round}`));
      proxy.cut();
      await delay(50);
    }
    for (let round = 0; round < 10; round++)
      await until(
        `cut-${round} is routed`,
        async () => (await get(`/cut-${round}/`, { url: router.url })).status === 200,
      );
    proxy.sever();
    for (let round = 0; round < 5; round++)
      await world.client.delete(SANDBOXES, { namespace: 'default', name: `cut-${round}` });
    for (let round = 0; round < 300; round++)
      await world.client.patch(
        PODS,
        { namespace: 'default', name: 'steady' },
        { metadata: { labels: { round: String(round) } } },
        { type: 'merge' },
      );
    await createReady(world.client, echoSandbox('behind'));
    await delay(2500);
    proxy.heal();
    await until(
      'what came meanwhile is routed',
      async () => (await get('/behind/', { url: router.url })).status === 200,
    );
    for (let round = 0; round < 5; round++)
      await until(`cut-${round} is not`, async () => (await get(`/cut-${round}/`, { url: router.url })).status === 404);
    assert.deepEqual((await load.stop()).statuses, [200]);
  });

  it("an address that another tenant's pod takes over carries nothing more to it", async () => {
    for (const tenant of ['tenant-a', 'tenant-b'])
      await world.client.create(
        { group: '', version: 'v1', plural: 'namespaces', kind: 'Namespace', namespaced: false },
        {
          apiVersion: 'v1',
          kind: 'Namespace',
          metadata: { name: tenant },
        },
      );
    await createReady(world.client, echoSandbox('mine', { namespace: 'tenant-a' }));
    await until('it is routed', async () => (await get('/mine/', { token: world.tenantTokens.a })).status === 200);
    const victim = await podOf(world.client, 'mine', 'tenant-a');
    const socket = new WebSocket(`${world.url.replace('http', 'ws')}/mine/`, {
      headers: { authorization: `Bearer ${world.tenantTokens.a}` },
    });
    await once(socket, 'open');
    const closed = once(socket, 'close');
    // A second later by the clock of the API server, whose timestamps have no fractions.
    await delay(1100);
    await createReady(world.client, echoSandbox('theirs', { namespace: 'tenant-b' }));
    const thief = await podOf(world.client, 'theirs', 'tenant-b');
    await world.client.patch(
      PODS,
      { namespace: 'tenant-b', name: 'theirs' },
      { status: { podIP: victim.status?.podIP, podIPs: [{ ip: victim.status?.podIP }] } },
      { type: 'merge', subresource: 'status' },
    );
    const [code] = (await closed) as [number];
    assert.equal(code, 1012);
    const mine = await get('/mine/', { token: world.tenantTokens.a, timeout: '2' });
    assert.equal(mine.status, 503, 'the record that lost its address is not used');
    const theirs = await get('/theirs/', { token: world.tenantTokens.b });
    assert.equal(theirs.status, 200, 'the newer claim is used');
    assert.notEqual(thief.metadata.uid, victim.metadata.uid);
    assert.equal(
      (await get('/theirs.tenant-b/', { token: world.tenantTokens.a })).status,
      404,
      'others see nothing of it',
    );
  });

  it('a rolling restart of three routers under load fails no request, and tells WebSockets to go', async (test) => {
    await createReady(world.client, echoSandbox('busy'));
    let routers = await Promise.all([0, 1, 2].map(() => world.anotherRouter(['--shutdown-delay', '1s'])));
    extra.push(...routers);
    await Promise.all(routers.map(routerReady));
    // A load balancer: asks for readiness every 100 ms and sends to those that are ready.
    let ready = [...routers];
    const polling = new AbortController();
    const poll = (async () => {
      while (!polling.signal.aborted) {
        const asked = await Promise.all(
          routers.map((router) =>
            fetch(`${router.adminUrl}/readyz`).then(
              ({ ok }) => ok,
              () => false,
            ),
          ),
        );
        ready = routers.filter((_, index) => asked[index]);
        await delay(100);
      }
    })();
    let turn = 0;
    const load = steadyLoad(() => get('/busy/sleep/20', { url: ready[turn++ % ready.length]?.url ?? '' }), 8);
    test.after(load.stop);
    const socket = new WebSocket(`${routers[0]?.url.replace('http', 'ws')}/busy/`, {
      headers: { authorization: `Bearer ${world.token}` },
    });
    await once(socket, 'open');
    const closed = once(socket, 'close');
    for (const old of [...routers]) {
      const next = await world.anotherRouter(['--shutdown-delay', '1s']);
      extra.push(next);
      await routerReady(next);
      const stopping = old.stop();
      routers = [...routers.filter((router) => router !== old), next];
      assert.equal(await stopping, 0);
    }
    const { statuses, count } = await load.stop();
    polling.abort();
    await poll;
    assert.deepEqual(statuses, [200]);
    assert.ok(count > 200, `${count} requests`);
    const [code] = (await closed) as [number];
    assert.equal(code, 1001);
  });
});
