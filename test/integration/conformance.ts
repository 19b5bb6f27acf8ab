import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import WebSocket from 'ws';
import { nameHash, PODS, SANDBOXES, type Sandbox } from '../../src/kubernetes/index.ts';
import { type RawAnswer, type RawRequest, rawRequest } from '../support/raw-request.ts';
import { until } from '../support/until.ts';
import { createReady, echoSandbox, pause, podOf, type World } from './world.ts';

/** What the echo program tells of a request that reached it. */
interface Echoed {
  name: string;
  n: number;
  method: string;
  url: string;
  rawHeaders: string[];
  sizeBytes: number;
}

/** What any caller can rely on, whatever runs the sandboxes: addresses, answers, headers, waking. `skip` says why it can't run here. */
export function conformance(title: string, start: () => Promise<World>, skip: string | false): void {
  describe(`the router in front of ${title}`, { skip, timeout: 300_000 }, () => {
    let world: World;

    before(async () => {
      world = await start();
      await createReady(world.client, echoSandbox('box'));
    });
    after(() => world?.close());

    const send = (request: RawRequest, token: string | undefined = world.token): Promise<RawAnswer> =>
      rawRequest(world.url, {
        ...request,
        headers: { ...(token === '' ? {} : { authorization: `Bearer ${token}` }), ...request.headers },
      });
    const echoed = (answer: RawAnswer): Echoed => {
      assert.equal(answer.status, 200, answer.body);
      return JSON.parse(answer.body) as Echoed;
    };
    const problemOf = (answer: RawAnswer) => {
      assert.match(answer.headers.get('content-type')?.[0] ?? '', /^application\/problem\+json/, answer.body);
      const problem = JSON.parse(answer.body) as Record<string, unknown>;
      assert.equal(problem.status, answer.status);
      for (const field of ['type', 'title', 'detail', 'code', 'requestId'])
        assert.equal(typeof problem[field], 'string', field);
      return problem as { code: string; detail: string };
    };
    const headerOf = ({ rawHeaders }: Echoed, name: string) =>
      rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name);

    describe('finds the sandbox by', () => {
      const cases: [form: string, request: RawRequest, url: string][] = [
        ['path', { path: '/box/a/b?c=d' }, '/a/b?c=d'],
        ['path without a rest', { path: '/box' }, '/'],
        ['path with only a query', { path: '/box?x=1' }, '/?x=1'],
        ['path with namespace', { path: '/box.default/a' }, '/a'],
        ['path with port', { path: '/box:8888/a' }, '/a'],
        ['path with both', { path: '/box.default:8888/a' }, '/a'],
        ['host', { path: '/a', headers: { host: 'box.localhost:8080' } }, '/a'],
        ['host with namespace and port', { path: '/a', headers: { host: 'box--default--8888.localhost' } }, '/a'],
        ['host in uppercase', { path: '/a', headers: { host: 'BOX.Localhost' } }, '/a'],
        ['header', { path: '/a%2Fb', headers: { 'X-Sandbox-ID': 'box' } }, '/a%2Fb'],
        [
          'header with namespace and port',
          {
            path: '/a',
            headers: { 'x-sandbox-id': 'box', 'x-sandbox-namespace': 'default', 'x-sandbox-port': '8888' },
          },
          '/a',
        ],
        [
          'header with empty namespace and port',
          { path: '/a', headers: { 'x-sandbox-id': 'box', 'x-sandbox-namespace': '', 'x-sandbox-port': '' } },
          '/a',
        ],
        ['prefix', { path: '/by-path/default/box/8888/a//b/../c%2f?d' }, '/a//b/../c%2f?d'],
      ];
      for (const [form, request, url] of cases)
        it(form, async () => {
          const told = echoed(await send(request));
          assert.equal(told.name, 'box');
          assert.equal(told.url, url);
        });

      it('path, and hands on the rest byte for byte', async () => {
        for (const rest of ['/%2F/x', '//a//b', '/a/../b', '/./', '/%zz', '/a;b=c?d=e?f#g'])
          assert.equal(echoed(await send({ path: `/box${rest}` })).url, rest);
      });

      it('name, whatever UID or address a client remembers', async () => {
        const remembered: Record<string, string>[] = [
          { 'x-sandbox-pod-ip': '203.0.113.9' },
          { 'x-sandbox-uid': 'gone' },
        ];
        for (const headers of remembered)
          assert.equal(echoed(await send({ path: '/', headers: { 'x-sandbox-id': 'box', ...headers } })).name, 'box');
      });
    });

    describe('refuses', () => {
      const label = 'a'.repeat(64);
      const header = (name: string, value: string) => ({ 'x-sandbox-id': 'box', [name]: value });
      const cases: [what: string, request: RawRequest, status: number, code: string, detail?: string][] = [
        ['no name', { path: '/' }, 400, 'bad_address'],
        ['a name in uppercase', { path: '/Box/' }, 400, 'bad_address'],
        ['64 characters', { path: `/${label}/` }, 400, 'bad_address'],
        ['a leading hyphen', { path: '/-box/' }, 400, 'bad_address'],
        ['port 0', { path: '/box:0/' }, 400, 'bad_address'],
        ['port 65536', { path: '/box:65536/' }, 400, 'bad_address'],
        ['a host form of four parts', { path: '/', headers: { host: 'a--b--1--c.localhost' } }, 400, 'bad_address'],
        [
          'an empty ID header',
          { path: '/', headers: { 'x-sandbox-id': '' } },
          400,
          'bad_header',
          'X-Sandbox-ID header is required.',
        ],
        [
          'a bad ID header',
          { path: '/', headers: { 'x-sandbox-id': 'a.b' } },
          400,
          'bad_header',
          'Invalid sandbox ID format.',
        ],
        [
          'a bad namespace header',
          { path: '/', headers: header('x-sandbox-namespace', 'A') },
          400,
          'bad_header',
          'Invalid namespace format.',
        ],
        [
          'a bad port header',
          { path: '/', headers: header('x-sandbox-port', '-1') },
          400,
          'bad_header',
          'Invalid port format.',
        ],
        [
          'no address as Pod-IP',
          { path: '/', headers: header('x-sandbox-pod-ip', '1.2.3.4:5') },
          400,
          'bad_header',
          'Invalid target IP address.',
        ],
        ['two ID headers', { path: '/', headers: { 'x-sandbox-id': ['box', 'other'] } }, 400, 'bad_header'],
        [
          'half a prefix form',
          { path: '/by-path/default/box' },
          400,
          'bad_address',
          'Path-routed request must have the form <prefix>/<namespace>/<id>/<port>/...',
        ],
        [
          'bad escapes in a prefix form',
          { path: '/by-path/default/box/8888/%zz' },
          400,
          'bad_address',
          'Invalid percent-encoding in path.',
        ],
        ['an unknown sandbox', { path: '/nobody/' }, 404, 'sandbox_not_found'],
        ['an unknown namespace', { path: '/box.nowhere/' }, 404, 'sandbox_not_found'],
        ['what is ours but does not exist', { path: '/-/nothing' }, 404, 'not_found'],
      ];
      for (const [what, request, status, code, detail] of cases)
        it(`${what} → ${status} ${code}`, async () => {
          const answer = await send(request);
          assert.equal(answer.status, status, answer.body);
          const problem = problemOf(answer);
          assert.equal(problem.code, code);
          if (detail !== undefined) assert.equal(problem.detail, detail);
        });

      it('who has no or a wrong credential, before looking for the sandbox', async () => {
        for (const token of ['', 'wrong'])
          for (const path of ['/box/', '/nobody/']) {
            const answer = await send({ path }, token);
            assert.equal(answer.status, 401);
            assert.equal(problemOf(answer).code, 'unauthenticated');
            assert.match(answer.headers.get('www-authenticate')?.[0] ?? '', /Bearer/);
          }
      });

      it('members of a warm pool by name', async () => {
        const member = echoSandbox('member', {
          metadata: { labels: { 'agents.x-k8s.io/warm-pool-sandbox': nameHash('pool') } },
        });
        await createReady(world.client, member);
        assert.equal(problemOf(await send({ path: '/member/' })).code, 'sandbox_not_found');
        await world.client.patch(
          SANDBOXES,
          { namespace: 'default', name: 'member' },
          { metadata: { labels: { 'agents.x-k8s.io/warm-pool-sandbox': null } } },
          { type: 'merge' },
        );
        await until('the claimed member is routed', async () => (await send({ path: '/member/' })).status === 200);
        await world.client.delete(SANDBOXES, { namespace: 'default', name: 'member' });
        await until('the deleted one is not', async () => (await send({ path: '/member/' })).status === 404);
      });
    });

    describe('hands on', () => {
      it('end-to-end headers as they are, hop-by-hop ones and credentials not', async () => {
        const told = echoed(
          await send({
            path: '/box/',
            headers: {
              connection: 'close, X-Hop',
              'x-hop': '1',
              'keep-alive': 'timeout=5',
              te: 'trailers, deflate',
              'proxy-authorization': 'Basic x',
              'X-Kept': ['one', 'two'],
              origin: 'https://example.test',
            },
          }),
        );
        for (const gone of ['authorization', 'x-hop', 'keep-alive', 'proxy-authorization'])
          assert.deepEqual(headerOf(told, gone), [], gone);
        assert.deepEqual(headerOf(told, 'x-kept'), ['one', 'two']);
        assert.deepEqual(headerOf(told, 'te'), ['trailers']);
        assert.deepEqual(headerOf(told, 'origin'), ['https://example.test']);
        assert.ok(told.rawHeaders.includes('X-Kept'), 'names keep their case');
      });

      it('where the caller came from, and not what it says of that', async () => {
        const told = echoed(
          await send({
            path: '/box/a',
            headers: {
              'x-forwarded-for': '198.51.100.1',
              'x-forwarded-proto': 'https',
              'x-forwarded-host': 'evil.test',
              forwarded: 'for=evil',
            },
          }),
        );
        assert.deepEqual(headerOf(told, 'x-forwarded-for'), ['127.0.0.1']);
        assert.deepEqual(headerOf(told, 'x-forwarded-proto'), ['http']);
        assert.deepEqual(headerOf(told, 'x-forwarded-host'), [new URL(world.url).host]);
        assert.deepEqual(headerOf(told, 'x-forwarded-prefix'), ['/box']);
        assert.match(headerOf(told, 'forwarded')[0] ?? '', /for=(")?127\.0\.0\.1/);
      });

      it("the client's own Authorization, where ours came as Sandbox-Authorization", async () => {
        const headers = { 'sandbox-authorization': `Bearer ${world.token}`, authorization: 'Basic mine' };
        const told = echoed(await rawRequest(world.url, { path: '/box/', headers }));
        assert.deepEqual(headerOf(told, 'authorization'), ['Basic mine']);
        assert.deepEqual(headerOf(told, 'sandbox-authorization'), []);
      });

      it('every method and its body', async () => {
        for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']) {
          const told = echoed(
            await send({ method, path: '/box/x', ...(method === 'GET' ? {} : { body: 'some body' }) }),
          );
          assert.equal(told.method, method);
          assert.equal(told.sizeBytes, method === 'GET' ? 0 : 9);
        }
        const head = await send({ method: 'HEAD', path: '/box/x' });
        assert.equal(head.status, 200);
        assert.equal(head.body, '');
        assert.ok(Number(head.headers.get('content-length')?.[0]) > 0);
      });

      it('redirects and cookies of a web app under a path, moved below it', async () => {
        assert.deepEqual((await send({ path: '/box/redirect' })).headers.get('location'), ['/box/elsewhere?x=1']);
        const [cookie = ''] = (await send({ path: '/box/cookie' })).headers.get('set-cookie') ?? [];
        assert.match(cookie, /Path=\/box\//);
        assert.doesNotMatch(cookie, /Domain/i);
        const own = await send({ path: '/redirect', headers: { host: 'box.localhost' } });
        assert.deepEqual(own.headers.get('location'), ['/elsewhere?x=1']);
      });

      it('answers of any status, and says so when there is none', async () => {
        for (const status of [204, 304, 404, 418, 500, 503])
          assert.equal((await send({ path: `/box/status/${status}` })).status, status);
        const reset = await send({ path: '/box/reset' });
        assert.equal(reset.status, 502);
        assert.equal(problemOf(reset).code, 'upstream_reset');
        const refused = await send({ path: '/box:9/' });
        assert.equal(refused.status, 502);
        assert.equal(problemOf(refused).code, 'upstream_refused');
        assert.match(problemOf(refused).detail, /box/);
      });

      it('a WebSocket, both ways', async () => {
        const socket = new WebSocket(`${world.url.replace('http', 'ws')}/box/socket`, {
          headers: { authorization: `Bearer ${world.token}` },
        });
        await once(socket, 'open');
        for (const text of ['one', 'two']) {
          socket.send(text);
          assert.equal(String((await once(socket, 'message'))[0]), text);
        }
        socket.terminate();
      });
    });

    describe('wakes', () => {
      it('a paused sandbox for its first request: another pod, one wake, however many ask', async () => {
        const { uid } = (await podOf(world.client, 'box')).metadata;
        await pause(world.client, 'box');
        const answers = await Promise.all(Array.from({ length: 20 }, () => send({ path: '/box/' })));
        for (const answer of answers) assert.equal(echoed(answer).name, 'box');
        assert.ok(answers.some((answer) => /wake;dur=/.test(answer.headers.get('server-timing')?.[0] ?? '')));
        const pod = await podOf(world.client, 'box');
        assert.notEqual(pod.metadata.uid, uid);
        const { generation = 0 } = (await world.client.get<Sandbox>(SANDBOXES, { namespace: 'default', name: 'box' }))
          .metadata;
        await send({ path: '/box/' });
        const after_ = await world.client.get<Sandbox>(SANDBOXES, { namespace: 'default', name: 'box' });
        assert.equal(after_.metadata.generation, generation, 'a sandbox that runs is left alone');
      });

      it('for a WebSocket that comes first', async () => {
        await pause(world.client, 'box');
        const socket = new WebSocket(`${world.url.replace('http', 'ws')}/box/`, {
          headers: { authorization: `Bearer ${world.token}` },
        });
        await once(socket, 'open');
        socket.send('awake');
        assert.equal(String((await once(socket, 'message'))[0]), 'awake');
        socket.terminate();
      });

      it('not where the sandbox says never', async () => {
        const key = { namespace: 'default', name: 'box' };
        await world.client.patch(
          SANDBOXES,
          key,
          { metadata: { annotations: { 'sandbox-router/wake': 'never' } } },
          { type: 'merge' },
        );
        await pause(world.client, 'box');
        const answer = await until('the annotation is seen', async () => {
          const found = await send({ path: '/box/' });
          return found.status === 409 ? found : undefined;
        });
        assert.equal(problemOf(answer).code, 'wake_disabled');
        await world.client.patch(
          SANDBOXES,
          key,
          { metadata: { annotations: { 'sandbox-router/wake': null } } },
          { type: 'merge' },
        );
        await until('it wakes again', async () => (await send({ path: '/box/' })).status === 200);
      });

      it('by the control API too, which also tells where a sandbox is', async () => {
        const paused = await send({ method: 'POST', path: '/-/v1/sandboxes/box/pause' });
        assert.equal(paused.status, 202, paused.body);
        const state = async () =>
          (JSON.parse((await send({ path: '/-/v1/sandboxes/box' })).body) as { state: string }).state;
        await until('it is paused', async () => (await state()) === 'paused');
        assert.equal((await send({ method: 'POST', path: '/-/v1/sandboxes/box/resume' })).status, 202);
        await until('it runs', async () => (await state()) === 'running');
        const resolved = JSON.parse((await send({ path: '/-/v1/resolve/box' })).body);
        const pod = await podOf(world.client, 'box');
        assert.equal(resolved.address, pod.status?.podIP);
        assert.equal(resolved.podUid, pod.metadata.uid);
        assert.equal(resolved.port, 8888);
        assert.equal((await send({ path: '/-/v1/resolve/nobody' })).status, 404);
      });
    });

    it('replaces a pod that somebody deleted, and goes on under the same URL', async () => {
      const { uid } = (await podOf(world.client, 'box')).metadata;
      await world.client.delete(PODS, { namespace: 'default', name: 'box' });
      await until('another pod answers', async () => {
        const answer = await send({ path: '/box/' });
        if (answer.status !== 200) return false;
        // Between two pods there may be none.
        const pod = await podOf(world.client, 'box').catch(() => undefined);
        return pod !== undefined && pod.metadata.uid !== uid;
      });
    });

    it('tells its health without credentials', async () => {
      assert.equal((await fetch(`${world.url}/healthz`)).status, 200);
      assert.equal((await fetch(`${world.adminUrl}/readyz`)).status, 200);
      assert.match(await (await fetch(`${world.adminUrl}/metrics`)).text(), /sandbox_router_requests_total/);
    });
  });
}
