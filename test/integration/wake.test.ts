import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Metadata } from '@grpc/grpc-js';
import { request } from 'undici';
import WebSocket from 'ws';
import { PODS, SANDBOXES, type Sandbox } from '../../src/kubernetes/index.ts';
import type { WakeStatus } from '../../src/router/wake/wake-status.ts';
import { projectRoot } from '../support/checkout.ts';
import { grpcClient, startGrpcSandbox } from '../support/grpc-sandbox.ts';
import { http2Client } from '../support/http2-client.ts';
import { type PythonEnvironment, pythonEnvironment } from '../support/python.ts';
import { type RawAnswer, rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause, routerReady } from './world.ts';

const execute = promisify(execFile);
const ASLEEP = {
  'sandbox-router/asleep-answer': JSON.stringify({
    '/healthz': { status: 200, contentType: 'application/json', body: '{"asleep":true}' },
  }),
};

describe('a paused sandbox on a real API server', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 280_000,
}, () => {
  let world: ClusterWorld;
  let router: ServeProcess;
  let python: PythonEnvironment;
  let authorization: string;

  before(async () => {
    const installing = pythonEnvironment(['requests==2.32.5']);
    world = await clusterWorld({
      startMs: ({ metadata: { name } }) => (name.startsWith('slow') ? 4000 : 300),
      skips: ({ metadata }) => metadata.name.startsWith('stuck') && metadata.annotations?.['test/first'] === undefined,
    });
    router = await world.anotherRouter([
      '--shutdown-delay',
      '0s',
      '--hold-timeout',
      '20s',
      '--pod-snapshots',
      'off',
      '--activity-interval',
      '1s',
      '--lease-namespace',
      'default',
    ]);
    await routerReady(router);
    authorization = `Bearer ${world.token}`;
    python = await installing;
  });
  after(async () => {
    await router?.stop('SIGKILL');
    await world?.close();
    python?.close();
  });

  const sandboxOf = (name: string) => world.client.get<Sandbox>(SANDBOXES, { namespace: 'default', name });
  const modeOf = async (name: string) => (await sandboxOf(name)).spec.operatingMode;
  async function asleep(name: string, annotations: Record<string, string> = {}): Promise<void> {
    await createReady(world.client, echoSandbox(name, { metadata: { annotations } }));
    await until('the router knows it', async () => (await get(`/${name}/`)).status === 200);
    await pause(world.client, name);
    await until('the router knows that it is paused', async () => (await viewOf(name)).state === 'paused');
  }
  async function stuck(name: string): Promise<void> {
    const sandbox = echoSandbox(name);
    await world.client.create(SANDBOXES, { ...sandbox, spec: { ...sandbox.spec, operatingMode: 'Suspended' } });
    await until('the router knows it', async () => (await viewOf(name)).state === 'paused');
  }
  const viewOf = async (name: string) =>
    (await (await fetch(`${router.url}/-/v1/sandboxes/${name}`, { headers: { authorization } })).json()) as {
      state: string;
    };
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET', body?: string): Promise<RawAnswer> =>
    rawRequest(router.url, {
      path,
      method,
      headers: { authorization, ...headers },
      ...(body === undefined ? {} : { body }),
    });
  const metric = async (name: string): Promise<number> =>
    Number(new RegExp(`^${name} (\\S+)`, 'm').exec(await (await fetch(`${router.adminUrl}/metrics`)).text())?.[1]);

  describe('by intent', () => {
    const quiet: [what: string, path: string, method: string, headers: Record<string, string>, intent: string][] = [
      ['a prefetch', '/', 'GET', { 'sec-purpose': 'prefetch' }, 'prefetch'],
      ['a prerender', '/', 'GET', { 'sec-purpose': 'prefetch;prerender' }, 'prefetch'],
      ['a link preview', '/', 'GET', { 'user-agent': 'Discordbot/2.0' }, 'unfurl'],
      ['a monitor', '/', 'GET', { 'user-agent': 'UptimeRobot/2.0' }, 'monitor'],
      [
        'an unknown preflight',
        '/',
        'OPTIONS',
        { origin: 'https://a.test', 'access-control-request-method': 'PUT' },
        'preflight',
      ],
      ['HEAD', '/', 'HEAD', {}, 'head'],
      ['the favicon', '/favicon.ico', 'GET', {}, 'favicon'],
      ['robots.txt', '/robots.txt', 'GET', {}, 'robots'],
    ];

    it('stays asleep for quiet requests, and says why', async () => {
      await asleep('quiet');
      for (const [what, path, method, headers, intent] of quiet) {
        const { status, body } = await get(`/quiet${path}`, headers, method);
        assert.equal(status, 409, what);
        if (method === 'HEAD') continue;
        const problem = JSON.parse(body) as { code: string; detail: string };
        assert.equal(problem.code, 'wake_disabled');
        assert.match(problem.detail, new RegExp(`sandbox-router/wake-on names "${intent}"`));
      }
      assert.equal(await modeOf('quiet'), 'Suspended');
    });

    it('wakes for a quiet request that its annotation names', async () => {
      await asleep('polite', { 'sandbox-router/wake-on': 'head, favicon' });
      assert.equal((await get('/polite/robots.txt')).status, 409);
      assert.equal((await get('/polite/', {}, 'HEAD')).status, 200);
      assert.equal(await modeOf('polite'), 'Running');
    });

    it('says what of its annotations is wrong', async () => {
      await asleep('faulty', { 'sandbox-router/asleep-answer': '{"/healthz": {"code": 1}}' });
      const { detail } = JSON.parse((await get('/faulty/robots.txt')).body) as { detail: string };
      assert.match(detail, /Not in force: sandbox-router\/asleep-answer of \/healthz has "code"/);
    });

    it('is HEAD of curl, and a fixed answer', async () => {
      await asleep('curled', ASLEEP);
      const curl = async (...flags: string[]) =>
        (await execute('curl', ['-s', '-H', `Authorization: ${authorization}`, ...flags])).stdout;
      assert.match(await curl('-I', `${router.url}/curled/`), /^HTTP\/1\.1 409 /);
      const fixed = await curl('-i', `${router.url}/curled/healthz`);
      assert.match(fixed, /^HTTP\/1\.1 200 OK\r\n/);
      assert.match(fixed, /cache-status: sandbox-router; hit; detail=asleep-answer/);
      assert.ok(fixed.endsWith('\r\n\r\n{"asleep":true}'));
      assert.equal(await modeOf('curled'), 'Suspended');
      assert.equal(JSON.parse(await curl(`${router.url}/curled/`)).name, 'curled');
      assert.equal(JSON.parse(await curl(`${router.url}/curled/healthz`)).url, '/healthz', 'awake, it answers itself');
    });

    it('is the same for Python: fixed answers, the last running preflight, 202 and phases', async () => {
      await createReady(world.client, echoSandbox('snake', { metadata: { annotations: ASLEEP } }));
      const cors = { origin: 'https://app.test', 'access-control-request-method': 'PUT' };
      await until('the router knows it', async () => (await get('/snake/api', cors, 'OPTIONS')).status === 204);
      await pause(world.client, 'snake');
      await until('the router knows that it is paused', async () => (await viewOf('snake')).state === 'paused');
      const script = join(projectRoot, 'test/integration/wake-clients.py');
      const seen = JSON.parse(
        await python.run(script, [], { SANDBOX_URL: `${router.url}/snake`, TOKEN: world.token }),
      ) as Record<string, { status: number; headers: Record<string, string>; body?: Record<string, unknown> }> & {
        events: string[];
      };
      const statuses = ['head', 'preflight', 'unknown preflight', 'fixed', 'monitor', 'async', 'status', 'awake'];
      assert.deepEqual(
        statuses.map((name) => seen[name]?.status),
        [409, 204, 409, 200, 409, 202, 200, 200],
      );
      assert.equal(seen.preflight?.headers['access-control-allow-origin'], 'https://app.test');
      assert.equal(seen.preflight?.headers['access-control-allow-methods'], 'GET, PUT');
      assert.equal(seen.async?.headers['preference-applied'], 'respond-async');
      assert.ok(Number(seen.async?.headers['retry-after']) >= 1);
      assert.equal(seen.events.at(-2), 'event: end');
      assert.equal(JSON.parse(seen.events.at(-1)?.slice(6) ?? '').status, 'ready');
      assert.equal(seen.status?.body?.status, 'ready');
    });
  });

  describe('by how the caller waits', () => {
    it('is waited for by default, and tells the phases afterwards', async () => {
      await asleep('held');
      const { statusCode, headers, body } = await request(`${router.url}/held/`, { headers: { authorization } });
      await body.dump();
      assert.equal(statusCode, 200);
      const phases = String(headers['server-timing'])
        .split(', ')
        .map((part) => part.split(';')[0]);
      assert.deepEqual(phases, ['wake', 'queue', 'schedule', 'restore', 'ready', 'connect', 'firstbyte']);
    });

    it('is waited for as long as Prefer says, and X-Sandbox-Timeout', async () => {
      await stuck('stuck-a');
      const startedAtMs = performance.now();
      const bounded = await get('/stuck-a/', { prefer: 'wait=1' });
      const tookMs = performance.now() - startedAtMs;
      assert.ok(tookMs >= 990 && tookMs < 10_000, `${tookMs} ms`);
      assert.equal(bounded.status, 503);
      assert.deepEqual(bounded.headers.get('preference-applied'), ['wait=1']);
      assert.ok(Number(bounded.headers.get('retry-after')?.[0]) >= 1);
      assert.equal((JSON.parse(bounded.body) as { code: string }).code, 'waking');
      assert.equal((await get('/stuck-a/', { 'x-sandbox-timeout': '1' })).status, 503);
    });

    it('goes on waking after a 202, whose URL is for its tenant alone', async () => {
      await asleep('later');
      const accepted = await get('/later/', { prefer: 'respond-async' }, 'POST', 'not kept');
      assert.equal(accepted.status, 202);
      const [location = ''] = accepted.headers.get('location') ?? [];
      assert.match(location, /^\/-\/v1\/wakes\/[0-9a-f-]{36}\.default\.later$/);
      const stranger = await rawRequest(router.url, {
        path: location,
        headers: { authorization: `Bearer ${world.tenantTokens.b}` },
      });
      assert.equal(stranger.status, 404);
      assert.equal((await rawRequest(router.url, { path: location })).status, 401);
      const status = await until('it is ready', async () => {
        const told = JSON.parse((await get(location)).body) as WakeStatus;
        return told.status === 'ready' ? told : undefined;
      });
      assert.equal(status.sandbox, 'later');
      assert.deepEqual(Object.keys(status.durationsMs), ['queue', 'schedule', 'restore', 'ready', 'connect']);
      assert.equal((await get('/later/', { prefer: 'respond-async' })).status, 200, 'awake, it is just forwarded');
    });

    it('answers at once within wait=N when it is ready by then, else 202', async () => {
      await asleep('soon');
      const answer = await get('/soon/', { prefer: 'respond-async, wait=15' });
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.headers.get('preference-applied'), ['wait=15']);
      await stuck('stuck-b');
      assert.equal((await get('/stuck-b/', { prefer: 'respond-async, wait=1' })).status, 202);
    });

    it('is waited for by nobody once the client has left', async () => {
      await stuck('stuck-c');
      const controller = new AbortController();
      const leaving = fetch(`${router.url}/stuck-c/`, { headers: { authorization }, signal: controller.signal });
      await until('it is held', async () => (await metric('sandbox_router_held_requests')) === 1);
      assert.ok((await metric('sandbox_router_held_bytes')) > 0);
      controller.abort();
      await assert.rejects(leaving);
      await until('nothing is held', async () => (await metric('sandbox_router_held_requests')) === 0);
      assert.equal(await metric('sandbox_router_held_bytes'), 0);
    });

    it('does not take in bodies while it sleeps, and asks for one that waits to be asked when it is there', async () => {
      await asleep('slow-upload');
      const sizeBytes = 64 << 20;
      const { hostname, port } = new URL(router.url);
      const socket = connect(Number(port), hostname);
      socket.write(
        `POST /slow-upload/ HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Length: ${sizeBytes}\r\nConnection: close\r\n\r\n`,
      );
      let answer = '';
      socket.on('data', (chunk: Buffer) => {
        answer += chunk.toString('latin1');
      });
      const rss = await metric('process_resident_memory_bytes');
      socket.write(Buffer.alloc(sizeBytes, 'x'));
      const expecting = connect(Number(port), hostname);
      let continued: number | undefined;
      let early = '';
      expecting.on('data', (chunk: Buffer) => {
        early += chunk.toString('latin1');
        if (early.startsWith('HTTP/1.1 100 ') && continued === undefined) {
          continued = performance.now();
          expecting.write('hello');
        }
      });
      expecting.write(
        `POST /slow-upload/ HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`,
      );
      await until('both are held', async () => (await metric('sandbox_router_held_requests')) === 2);
      await delay(1000);
      assert.equal(early, '', 'nobody asks for the body before the sandbox is there');
      assert.ok(socket.writableLength > 0, 'the rest of the body is still at the client');
      assert.ok((await metric('process_resident_memory_bytes')) - rss < 32 << 20, 'and not in the router');
      await until('both are answered', () => answer.includes('"sha256"') && early.includes('"sha256"'));
      assert.match(answer, new RegExp(`"sizeBytes":${sizeBytes},`));
      assert.match(early, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*"sizeBytes":5,/);
    });

    it('is waited for by a request that dials its pod in the very moment of a pause, and has its whole body yet', async () => {
      const body = 'x'.repeat(100_000);
      let tries = 0;
      await until(
        'it is answered',
        async () => {
          // The controller may see the pause and the wake as one, and leave the dead pod as it is: each try has a sandbox of its own.
          const name = `dialled-${++tries}`;
          await createReady(world.client, echoSandbox(name));
          await until('it runs', async () => (await get(`/${name}/`)).status === 200);
          // As a pod that is checkpointed it accepts nothing more, and the router does not know yet.
          await world.kubelet.kill(name);
          const pausing = world.client.patch(
            SANDBOXES,
            { namespace: 'default', name },
            { spec: { operatingMode: 'Suspended' } },
            { type: 'merge' },
          );
          const answer = await get(`/${name}/`, { 'x-sandbox-timeout': '20' }, 'POST', body);
          await pausing;
          if (answer.status === 502) return false;
          assert.deepEqual([answer.status, JSON.parse(answer.body).sizeBytes], [200, body.length], answer.body);
          assert.match(answer.headers.get('server-timing')?.join() ?? '', /wake;/, 'it waited for a wake');
          return true;
        },
        60_000,
      );
    });

    it('is kept awake by a busy lease, and not by pings', async () => {
      const annotations = { 'sandbox-router/idle-timeout': '3s' };
      const headers = { authorization };
      for (const name of ['busy', 'pinged']) {
        await createReady(world.client, echoSandbox(name, { metadata: { annotations } }));
        const end = new Date(Date.now() + 600_000).toISOString();
        const lease = { 'sandbox-router/busy-until': end, 'sandbox-router/busy-why': 'training' };
        if (name === 'busy')
          await world.client.patch(
            PODS,
            { namespace: 'default', name },
            { metadata: { annotations: lease } },
            { type: 'merge' },
          );
      }
      await until('the router knows them', async () => (await get('/pinged/')).status === 200);
      const socket = new WebSocket(`${router.url.replace('http', 'ws')}/pinged/`, { headers });
      await once(socket, 'open');
      const pinging = setInterval(() => socket.ping(), 200);
      await until('it is paused although it is pinged', async () => (await modeOf('pinged')) === 'Suspended', 60_000);
      clearInterval(pinging);
      socket.terminate();
      assert.equal(await modeOf('busy'), 'Running');
      await world.client.patch(
        PODS,
        { namespace: 'default', name: 'busy' },
        { metadata: { annotations: { 'sandbox-router/busy-until': null } } },
        { type: 'merge' },
      );
      await until('it is paused without its lease', async () => (await modeOf('busy')) === 'Suspended', 60_000);
    });

    it('counts quiet requests as no use while it runs', async () => {
      const annotations = { 'sandbox-router/idle-timeout': '3s', ...ASLEEP };
      await createReady(world.client, echoSandbox('watched', { metadata: { annotations } }));
      await until('the router knows it', async () => (await get('/watched/')).status === 200);
      const monitored = await until(
        'it is paused although a monitor and a health check call all the time',
        async () => {
          await get('/watched/', { 'user-agent': 'Pingdom' });
          await get('/watched/healthz');
          return (await modeOf('watched')) === 'Suspended';
        },
        60_000,
      );
      assert.equal(monitored, true);
    });
  });

  it('is woken by a request of HTTP/2, which tells how long that took', async () => {
    await asleep('over-h2');
    const connection = await http2Client(router.url, world.token);
    const answer = await connection.send({ ':path': '/over-h2/hello' });
    assert.deepEqual([answer.status, JSON.parse(answer.body).url], [200, '/hello']);
    assert.match(String(answer.headers['server-timing']), /wake/);
    connection.close();
  });

  it('is woken by a call of gRPC, which has its answer as if nothing had happened', async () => {
    const grpc = await startGrpcSandbox();
    const name = 'grpc-asleep';
    const annotations = { 'sandbox-router/port': String(grpc.port), 'sandbox-router/protocol': `${grpc.port}=h2c` };
    await createReady(world.client, echoSandbox(name, { metadata: { annotations } }));
    await until('the router knows it', async () => (await viewOf(name)).state === 'running');
    await pause(world.client, name);
    await until('the router knows that it is paused', async () => (await viewOf(name)).state === 'paused');
    const client = grpcClient(new URL(router.url).host, `${name}.localhost`);
    const metadata = new Metadata();
    metadata.set('authorization', authorization);
    const answer = await new Promise((resolve, reject) =>
      client.unary(Buffer.from('hello'), metadata, (error: Error | null, reply: Buffer) =>
        error === null ? resolve(String(reply)) : reject(error),
      ),
    );
    assert.equal(answer, 'hello');
    assert.equal(await modeOf(name), 'Running');
    client.close();
    grpc.kill();
  });
});
