import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { PODS, SANDBOXES } from '../../src/kubernetes/index.ts';
import { type RawAnswer, rawRequest } from '../support/raw-request.ts';
import { steadyLoad } from '../support/steady-load.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause } from './world.ts';

/** How long the API server is away; less than 15 s leaves no time for what is tried meanwhile. */
const OUTAGE_MS = Number(process.env.TEST_OUTAGE_SECONDS ?? 60) * 1000;
/** From the middle of the outage on a request is held: within the 55 s that requests are held for. */
const HELD_FROM_MS = OUTAGE_MS - 10_000;

describe('while the API server or its store fails', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 400_000,
}, () => {
  let world: ClusterWorld;

  before(async () => {
    world = await clusterWorld();
  });
  after(async () => {
    world?.kube.storeProxy.delay(0);
    await world?.close();
  });

  const get = (path: string, timeoutSeconds?: number): Promise<RawAnswer> =>
    rawRequest(world.url, {
      path,
      headers: {
        authorization: `Bearer ${world.token}`,
        ...(timeoutSeconds === undefined ? {} : { 'x-sandbox-timeout': String(timeoutSeconds) }),
      },
    });
  const json = ({ body }: { body: string }) => JSON.parse(body);
  const paused = async (name: string) => {
    await createReady(world.client, echoSandbox(name));
    await pause(world.client, name);
    await until(
      'the router knows that it is paused',
      async () => json(await get(`/-/v1/sandboxes/${name}`)).state === 'paused',
    );
  };
  const readiness = async () =>
    (await (await fetch(`${world.adminUrl}/readyz`)).json()) as { tableAgeSeconds: number; suspectPods: number };
  const metric = async (name: string) => {
    const text = await (await fetch(`${world.adminUrl}/metrics`)).text();
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  };

  it(`the API server gone for ${OUTAGE_MS / 1000} s, and its history with it, costs no request that a sandbox could answer`, async (test) => {
    await createReady(world.client, echoSandbox('steady'));
    await createReady(world.client, echoSandbox('moved'));
    await paused('asleep');
    for (const name of ['steady', 'moved'])
      await until('it is routed', async () => (await get(`/${name}/`)).status === 200);
    const load = steadyLoad(() => get('/steady/'));
    test.after(load.stop);
    await world.kube.stopApi();
    const stoppedMs = performance.now();

    const impatient = await get('/asleep/', 2);
    assert.equal(impatient.status, 503);
    assert.equal(json(impatient).code, 'waking');
    assert.equal(json(impatient).detail, 'asleep can not be woken yet: the API server does not answer.');
    assert.ok(impatient.headers.has('retry-after'));

    // Its node is gone, or it moved: nobody can tell the router.
    await world.kubelet.kill('moved');
    const first = await get('/moved/');
    assert.equal(first.status, 502);
    assert.equal(json(first).code, 'upstream_refused');
    assert.equal((await readiness()).suspectPods, 1);
    assert.equal(await metric('sandbox_router_suspect_pods'), 1);
    assert.deepEqual(json(await get('/-/v1/resolve/moved')).suspectPorts, [8888]);
    const explained = await rawRequest(world.url, {
      method: 'POST',
      path: '/-/v1/explain',
      headers: { authorization: `Bearer ${world.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ url: `${world.url}/moved/` }),
    });
    assert.match(json(explained).steps.at(-1).detail, /refused connections on port 8888/);
    const crowd = await Promise.all(Array.from({ length: 50 }, () => get('/moved/')));
    for (const answer of crowd) assert.equal(json(answer).code, 'upstream_refused');
    assert.equal((await get('/steady/')).status, 200, 'other sandboxes are not suspect');

    await delay(Math.max(0, HELD_FROM_MS - (performance.now() - stoppedMs)));
    const held = get('/asleep/');
    await world.kube.compact();
    await delay(Math.max(0, OUTAGE_MS - (performance.now() - stoppedMs)));
    assert.ok((await readiness()).tableAgeSeconds >= OUTAGE_MS / 1000 - 5, JSON.stringify(await readiness()));
    await world.kube.startApi();
    const woken = await held;
    assert.equal(woken.status, 200, woken.body);

    await createReady(world.client, echoSandbox('newcomer'));
    await until('what came afterwards is routed', async () => (await get('/newcomer/')).status === 200, 60_000);
    await world.client.delete(PODS, { namespace: 'default', name: 'moved' }, { gracePeriodSeconds: 0 });
    await until('it is routed to its new pod', async () => (await get('/moved/')).status === 200, 60_000);
    assert.equal((await readiness()).suspectPods, 0);
    const { statuses, count } = await load.stop();
    assert.deepEqual(statuses, [200]);
    assert.ok(count > OUTAGE_MS / 100, `${count} requests`);
  });

  it('a store that is slow slows no request to what runs, and a wake is held until it is done', async (test) => {
    await createReady(world.client, echoSandbox('brisk'));
    await paused('patient');
    await until('it is routed', async () => (await get('/brisk/')).status === 200);
    const quiet = steadyLoad(() => get('/brisk/'));
    await delay(2000);
    const before_ = await quiet.stop();
    const load = steadyLoad(() => get('/brisk/'));
    test.after(load.stop);
    world.kube.storeProxy.delay(400);
    const beganMs = performance.now();
    await world.client.get(SANDBOXES, { namespace: 'default', name: 'patient' });
    assert.ok(performance.now() - beganMs >= 700, 'the store is slow');
    const woken = await get('/patient/');
    assert.equal(woken.status, 200, woken.body);
    assert.ok(performance.now() - beganMs >= 1500, 'the wake had to wait for it');
    world.kube.storeProxy.delay(0);
    const { statuses, count, slowestMs } = await load.stop();
    assert.deepEqual(statuses, [200]);
    assert.ok(count > 50, `${count} requests`);
    assert.ok(slowestMs < before_.slowestMs + 500, `${slowestMs} ms; ${before_.slowestMs} ms with a quick store`);
  });
});
