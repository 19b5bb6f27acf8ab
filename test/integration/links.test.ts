import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { NAMESPACES, SANDBOXES, type Sandbox } from '../../src/kubernetes/index.ts';
import { type Narrowing, narrowLink } from '../../src/router/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { type RawAnswer, type RawRequest, rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause, routerReady } from './world.ts';

/** What the echo program says of a request. */
interface Echoed {
  method: string;
  url: string;
  rawHeaders: string[];
}

describe('links, tokens and cookies, on a real API server', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 200_000,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-links-'));
  const path = (name: string) => join(directory, name);
  let world: ClusterWorld;
  let router: ServeProcess;
  let port = '';

  before(async () => {
    for (const name of ['one', 'two', 'scoped']) writeFileSync(path(name), randomBytes(32).toString('base64'));
    world = await clusterWorld();
    for (const name of ['tenant-a', 'tenant-b'])
      await world.client.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    await Promise.all([
      createReady(world.client, echoSandbox('box', { namespace: 'tenant-a' })),
      createReady(world.client, echoSandbox('no--host', { namespace: 'tenant-a' })),
      createReady(world.client, echoSandbox('asleep', { namespace: 'tenant-a' })),
    ]);
    await pause(world.client, 'asleep', 'tenant-a');
    router = await world.anotherRouter([
      ...['--link-keys', `one=${path('one')},two=${path('two')}`],
      ...['--scoped-token-keys', path('scoped'), '--token-query', 'access', '--egress-verify', 'off'],
      ...['--allowed-origins', 'https://portal.example.com'],
    ]);
    await routerReady(router);
    port = new URL(router.url).port;
  });
  after(async () => {
    await router?.stop('SIGKILL');
    await world?.close();
    rmSync(directory, { recursive: true });
  });

  const own = () => `box--tenant-a.localhost:${port}`;
  const send = (target: string, more: Partial<RawRequest> = {}): Promise<RawAnswer> =>
    rawRequest(router.url, { path: target, ...more });
  const outcome = ({ status, body }: RawAnswer) =>
    status < 400 ? `${status}` : `${status} ${(JSON.parse(body) as { code: string }).code}`;
  const post = (what: 'links' | 'tokens', body: object, token = world.tenantTokens.a): Promise<RawAnswer> =>
    send(`/-/v1/${what}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  /** The token of a new link. */
  const link = async (more: object = {}): Promise<string> => {
    const answer = await post('links', { sandbox: 'box', ...more });
    assert.equal(answer.status, 201, answer.body);
    return (JSON.parse(answer.body) as { path: string }).path.slice('/-/link/'.length);
  };
  const open = (token: string, more: Record<string, string> = {}) =>
    send(`/-/link/${token}`, { headers: { host: own(), ...more } });
  const cookieOf = (answer: RawAnswer) => answer.headers.get('set-cookie')?.[0]?.split(';')[0] ?? '';
  /** The cookie of a new link. */
  const session = async (more: object = {}) => cookieOf(await open(await link(more)));
  const echoed = ({ body }: RawAnswer) => JSON.parse(body) as Echoed;

  describe('a link', () => {
    it('becomes a cookie, and its URL is gone', async () => {
      const answer = await open(await link({ path: '/a?b=c' }));
      assert.equal(answer.status, 303);
      assert.deepEqual(
        ['location', 'referrer-policy', 'cache-control'].map((name) => answer.headers.get(name)?.[0]),
        ['/a?b=c', 'no-referrer', 'no-store'],
      );
      const cookie = cookieOf(answer);
      const { rawHeaders } = echoed(await send('/x', { headers: { host: own(), cookie: `mine=1; ${cookie}` } }));
      assert.equal(rawHeaders[rawHeaders.indexOf('cookie') + 1], 'mine=1');
      assert.ok(!rawHeaders.join().includes('s1.'), 'the cookie stays here');
    });
    it('opened elsewhere leads to the host whose cookie it is', async () => {
      const token = await link({ oneUse: true });
      const answer = await send(`/-/link/${token}`);
      assert.equal(answer.headers.get('location')?.[0], `//${own()}/-/link/${token}`);
      assert.equal(answer.headers.get('set-cookie'), undefined);
      assert.equal((await open(token)).status, 303, 'and was not used up');
    });
    it('is Secure on hosts that are not this machine', async () => {
      const answer = await rawRequest(router.url, {
        path: `/-/link/${(await post('links', { sandbox: 'no--host' }).then(({ body }) => JSON.parse(body) as { path: string })).path.slice(8)}`,
        headers: { host: 'router.example.com' },
      });
      assert.match(
        answer.headers.get('set-cookie')?.[0] ?? '',
        /^__Secure-sandbox-router=.*; Path=\/no--host\.tenant-a; Max-Age=\d+; HttpOnly; SameSite=Lax; Secure$/,
      );
    });
    it('is no credential for the router itself, nor for another sandbox', async () => {
      const token = await link();
      const authorization = `Bearer ${token}`;
      assert.equal(outcome(await send('/box.tenant-a/', { headers: { authorization } })), '200');
      assert.equal(outcome(await send('/-/v1/sandboxes', { headers: { authorization } })), '403 forbidden');
      for (const other of ['/no--host.tenant-a/', '/nobody.tenant-a/', '/box.tenant-b/'])
        assert.equal(outcome(await send(other, { headers: { authorization } })), '403 forbidden', other);
      const cookie = await session();
      assert.equal(outcome(await send('/-/v1/sandboxes', { headers: { cookie } })), '401 unauthenticated');
      assert.equal(outcome(await post('links', { sandbox: 'box' }, token)), '403 forbidden');
    });
    it('is used up by following it, not by looking at it', async () => {
      const token = await link({ oneUse: true });
      const headers = { host: own() };
      assert.equal((await send(`/-/link/${token}`, { method: 'HEAD', headers })).status, 403);
      assert.equal(outcome(await open(token, { 'sec-purpose': 'prefetch' })), '403 forbidden');
      assert.equal((await open(token)).status, 303);
      assert.equal(outcome(await open(token)), '403 forbidden');
      const bearer = { authorization: `Bearer ${await link({ oneUse: true })}` };
      assert.equal(outcome(await send('/box/', { headers: bearer })), '200');
      assert.equal(outcome(await send('/box/', { headers: bearer })), '403 forbidden');
    });

    const narrowings: [
      what: string,
      by: Narrowing,
      request: Partial<RawRequest> & { path: string },
      expected: string,
    ][] = [
      ['a method that it has', { methods: ['GET'] }, { path: '/box/' }, '200'],
      ['a method that it has not', { methods: ['GET'] }, { path: '/box/', method: 'POST' }, '403 forbidden'],
      ['a path below', { pathPrefix: '/app' }, { path: '/box/app/x' }, '200'],
      ['a path beside', { pathPrefix: '/app' }, { path: '/box/application' }, '403 forbidden'],
      ['a path that leaves', { pathPrefix: '/app' }, { path: '/box/app/%2e%2e/x' }, '403 forbidden'],
      ['its port', { port: 8888 }, { path: '/box:8888/' }, '200'],
      ['another port', { port: 80 }, { path: '/box/' }, '403 forbidden'],
      ['an end that has come', { expiresAtSeconds: 1 }, { path: '/box/' }, '401 unauthenticated'],
    ];
    for (const [what, by, request, expected] of narrowings)
      it(`narrowed by its holder: ${what} → ${expected}`, async () => {
        const authorization = `Bearer ${narrowLink(await link(), by)}`;
        assert.equal(outcome(await send(request.path, { ...request, headers: { authorization } })), expected);
      });

    it('that may not wake leaves its sandbox asleep', async () => {
      const token = await link({ sandbox: 'asleep', mayWake: false });
      const answer = await send('/asleep/', { headers: { authorization: `Bearer ${token}` } });
      assert.equal(outcome(answer), '409 wake_disabled');
      const key = { namespace: 'tenant-a', name: 'asleep' };
      assert.equal((await world.client.get<Sandbox>(SANDBOXES, key)).spec.operatingMode, 'Suspended');
    });
    it('is void once its key is another', async () => {
      const token = await link();
      const cookie = cookieOf(await open(token));
      writeFileSync(path('new'), randomBytes(32).toString('base64'));
      renameSync(path('new'), path('one'));
      await until('the key is read', async () => (await open(token)).status === 401);
      assert.equal(outcome(await send('/', { headers: { host: own(), cookie } })), '401 unauthenticated');
    });
  });

  describe('minting', () => {
    const refused: [what: string, body: object, who: 'a' | 'b', expected: string][] = [
      ['for a foreign sandbox', { sandbox: 'box', namespace: 'tenant-a' }, 'b', '404 sandbox_not_found'],
      ['for one that does not exist', { sandbox: 'nobody', namespace: 'tenant-a' }, 'b', '404 sandbox_not_found'],
      ['with a field that is not known', { sandbox: 'box', pathprefix: '/a' }, 'a', '400 bad_request'],
      ['that leads to another host', { sandbox: 'box', path: '//evil.test/' }, 'a', '400 bad_request'],
      ['with a prefix that leaves', { sandbox: 'box', pathPrefix: '/a/../b' }, 'a', '400 bad_request'],
      ['for longer than allowed', { sandbox: 'box', lifetime: '31d' }, 'a', '400 bad_request'],
      ['with a port that is a text', { sandbox: 'box', port: '80' }, 'a', '400 bad_request'],
    ];
    for (const [what, body, who, expected] of refused)
      it(`a link ${what} is refused: ${expected}`, async () =>
        assert.equal(outcome(await post('links', body, world.tenantTokens[who])), expected));

    it('a scoped token gives what its caller has, and ends with it', async () => {
      const mint = async (lifetime: string, token?: string) => {
        const answer = await post('tokens', { sandbox: 'box', namespace: 'tenant-a', lifetime }, token);
        return { answer, ...(JSON.parse(answer.body) as { token: string; expiresAt: string }) };
      };
      const first = await mint('10m');
      assert.match(first.token, /^v1\.[\w-]+\.[\w-]+$/);
      assert.equal(outcome(await send('/box/', { headers: { authorization: `Bearer ${first.token}` } })), '200');
      const second = await mint('1d', first.token);
      assert.equal(second.expiresAt, first.expiresAt);
      const other = await post('tokens', { sandbox: 'no--host' }, first.token);
      assert.equal(outcome(other), '404 sandbox_not_found');
    });
    it('a scoped token needs no router', async () => {
      const command = [join(projectRoot, 'src/cli/main.ts'), 'token', 'mint-scoped', 'box', '-n', 'tenant-a'];
      const run = (...rest: string[]) => [...command, '--key', path('scoped'), ...rest];
      const token = execFileSync(process.execPath, run(), { encoding: 'utf8' }).trim();
      assert.equal(outcome(await send('/box/', { headers: { authorization: `Bearer ${token}` } })), '200');
      const { status, stderr } = spawnSync(process.execPath, run('--expires', 'never'), { encoding: 'utf8' });
      assert.equal(status, 2);
      assert.match(stderr, /--expires/);
    });
  });

  describe('a token in the query (contract section 3.8)', () => {
    it('becomes a cookie for its sandbox, and the sandbox sees neither', async () => {
      const { token } = JSON.parse((await post('tokens', { sandbox: 'box' })).body) as { token: string };
      const answer = await send(`/by-path/tenant-a/box/8888/x?a=1&access=${token}&b=2`);
      assert.equal(answer.headers.get('location')?.[0], '/by-path/tenant-a/box/8888/x?a=1&b=2');
      assert.match(answer.headers.get('set-cookie')?.[0] ?? '', /; Path=\/by-path\/tenant-a\/box\/8888\/; HttpOnly; /);
      const cookie = cookieOf(answer);
      const { rawHeaders } = echoed(await send('/by-path/tenant-a/box/8888/x', { headers: { cookie } }));
      assert.ok(!rawHeaders.includes('cookie'), rawHeaders.join());
      const written = await send(`/box.tenant-a/x?access=${token}`, { method: 'POST', body: '' });
      assert.equal(echoed(written).url, '/x');
      const elsewhere = await send('/no--host.tenant-a/', { headers: { cookie } });
      assert.equal(outcome(elsewhere), '403 forbidden');
    });
    it('is refused where it is for more than one sandbox', async () => {
      const target = `/box.tenant-a/?access=${world.tenantTokens.a}`;
      assert.equal(outcome(await send(target)), '401 unauthenticated');
      const cookie = `sandbox-router-token=${world.tenantTokens.a}`;
      assert.equal(outcome(await send('/box.tenant-a/', { headers: { cookie } })), '401 unauthenticated');
    });
  });

  describe('a cookie', () => {
    const rules: [what: string, headers: () => Record<string, string>, more: Partial<RawRequest>, expected: string][] =
      [
        ['of the same origin writes', () => ({ origin: `http://${own()}` }), { method: 'POST' }, '200'],
        ['of another origin', () => ({ origin: 'https://evil.test' }), { method: 'POST' }, '403 forbidden'],
        ['of another sandbox', () => ({ 'sec-fetch-site': 'same-site' }), {}, '403 forbidden'],
        ['of an origin that is allowed', () => ({ origin: 'https://portal.example.com' }), { method: 'POST' }, '200'],
        [
          'of another origin, to open a WebSocket',
          () => ({ origin: 'https://evil.test', connection: 'Upgrade', upgrade: 'websocket' }),
          {},
          '403 forbidden',
        ],
      ];
    for (const [what, headers, more, expected] of rules)
      it(`${what}: ${expected}`, async () => {
        const all = { host: own(), cookie: await session(), ...headers() };
        assert.equal(outcome(await send('/', { ...more, headers: all })), expected);
      });
    it('is not asked for where a header has the credential, from wherever it comes', async () => {
      const authorization = `Bearer ${world.tenantTokens.a}`;
      const headers = { host: own(), authorization, origin: 'https://evil.test', 'sec-fetch-site': 'cross-site' };
      assert.equal(outcome(await send('/', { method: 'POST', headers })), '200');
    });
    it('leaves Authorization to the application', async () => {
      const headers = { host: own(), cookie: await session(), authorization: 'Basic b2Y6YXBw' };
      const { rawHeaders } = echoed(await send('/', { headers }));
      assert.ok(rawHeaders.includes('Basic b2Y6YXBw'), rawHeaders.join());
    });
  });

  describe('a page in path form', () => {
    const navigation = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none' };
    it("is sent to the sandbox's own origin, known or not", async () => {
      for (const name of ['box', 'nobody']) {
        const answer = await send(`/${name}.tenant-a:8888//a?b`, { headers: navigation });
        assert.equal(answer.status, 303);
        assert.equal(answer.headers.get('location')?.[0], `//${name}--tenant-a--8888.localhost:${port}//a?b`);
      }
    });
    it('takes its right along by a link of one use', async () => {
      const headers = { ...navigation, cookie: await session() };
      const answer = await send('/box.tenant-a/x', { headers });
      const location = answer.headers.get('location')?.[0] ?? '';
      const [, token = ''] = location.split('/-/link/');
      assert.equal(location, `//${own()}/-/link/${token}`);
      const opened = await open(token);
      assert.equal(opened.headers.get('location')?.[0], '/x');
      assert.equal(outcome(await send('/x', { headers: { host: own(), cookie: cookieOf(opened) } })), '200');
      assert.equal(outcome(await open(token)), '403 forbidden');
    });
    it('is isolated where there is no such origin; service workers are refused', async () => {
      const authorization = `Bearer ${world.tenantTokens.a}`;
      const isolated = await send('/no--host/cookie', { headers: { ...navigation, authorization } });
      assert.match(isolated.headers.get('content-security-policy')?.join() ?? '', /^sandbox (?!.*same-origin)/);
      assert.match(isolated.headers.get('set-cookie')?.[0] ?? '', /^sandbox-router\.tenant-a\.no--host\.session=1/);
      const worker = { authorization, 'service-worker': 'script', 'sec-fetch-dest': 'serviceworker' };
      assert.equal(outcome(await send('/no--host/', { headers: worker })), '403 forbidden');
      const other = { authorization, ...navigation, cookie: 'foreign=1; sandbox-router.tenant-a.no--host.session=1' };
      const { rawHeaders } = echoed(await send('/no--host/', { headers: other }));
      assert.equal(rawHeaders[rawHeaders.indexOf('cookie') + 1], 'session=1');
    });
    it('of an API client is as it was', async () => {
      const headers = { authorization: `Bearer ${world.tenantTokens.a}`, cookie: 'a=1' };
      const answer = await send('/no--host/cookie', { headers });
      assert.equal(answer.headers.get('content-security-policy'), undefined);
      assert.match(answer.headers.get('set-cookie')?.[0] ?? '', /^session=1; Path=\/no--host\//);
    });
  });

  it("the router's own paths are not for other pages, nor for frames", async () => {
    const headers = { authorization: `Bearer ${world.tenantTokens.a}`, 'sec-fetch-site': 'cross-site' };
    const answer = await send('/-/v1/sandboxes', { headers });
    assert.equal(outcome(answer), '403 forbidden');
    assert.equal(answer.headers.get('x-frame-options')?.[0], 'DENY');
  });

  it('never shows tokens in its log', () => assert.doesNotMatch(router.output(), /[ls]1\.(one|two)\.|v1\.ey/));
});
