import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { startExtensionControllers } from '../../src/engine/controllers/index.ts';
import {
  NAME_HASH_LABEL,
  NAMESPACES,
  nameHash,
  POD_SNAPSHOTS,
  type PodSnapshot,
  SANDBOX_CLAIMS,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
  type SandboxTemplate,
  type SandboxWarmPool,
} from '../../src/kubernetes/index.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause, routerReady } from './world.ts';

interface Answer {
  status: number;
  headers: Headers;
  /** Fields of claims, lists and problems: those that a test looks at. */
  body: {
    name: string;
    namespace: string;
    pool: string;
    sandbox: string;
    state: string;
    ready: boolean;
    shutdownTime: string;
    urls: { path: string; host: string };
    items: { name: string }[];
    code?: string;
    detail?: string;
    requestId?: string;
  };
}

describe('the control API, on a real API server', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 200_000,
}, () => {
  let world: ClusterWorld;
  let controllers: ReturnType<typeof startExtensionControllers>;
  let other: ServeProcess;

  before(async () => {
    world = await clusterWorld();
    controllers = startExtensionControllers({ client: world.client, failed: () => {} });
    await controllers.synced;
    other = await world.anotherRouter();
    await routerReady(other);
    const { client } = world;
    for (const namespace of ['tenant-a', 'tenant-b']) {
      await client.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
      const { podTemplate } = echoSandbox('box', { namespace }).spec;
      const metadata = { namespace, name: 'pool' };
      const apiVersion = 'extensions.agents.x-k8s.io/v1beta1';
      const template = { ...metadata, name: 'shape' };
      const spec = { podTemplate, envVarsInjectionPolicy: 'Allowed' as const };
      await client.create<SandboxTemplate>(SANDBOX_TEMPLATES, {
        apiVersion,
        kind: 'SandboxTemplate',
        metadata: template,
        spec,
      });
      await client.create<SandboxWarmPool>(SANDBOX_WARM_POOLS, {
        apiVersion,
        kind: 'SandboxWarmPool',
        metadata,
        spec: { replicas: 1, sandboxTemplateRef: { name: 'shape' } },
      });
    }
    await createReady(client, echoSandbox('box', { namespace: 'tenant-a' }));
    await createReady(client, echoSandbox('box', { namespace: 'tenant-b' }));
  });
  after(async () => {
    await other?.stop('SIGKILL');
    await controllers?.close();
    await world?.close();
  });

  async function call(
    method: string,
    path: string,
    body?: unknown,
    { token = world.tenantTokens.a, url = world.url, headers = {} as Record<string, string> } = {},
  ): Promise<Answer> {
    const answer = await fetch(`${url}/-/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, body: JSON.parse(text || '{}') };
  }

  it('claims a sandbox from a pool, and its URLs work when it says that it is ready', async () => {
    const { status, headers, body } = await call('POST', '/claims', { pool: 'pool', lifetime: '10m', wait: '60s' });
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(body.ready, true, JSON.stringify(body));
    assert.equal(headers.get('location'), `/-/v1/claims/${body.name}?namespace=tenant-a`);
    assert.ok(Date.parse(body.shutdownTime) > Date.now());
    const { path, host } = body.urls;
    assert.match(host, /^http:\/\/pool-[a-z0-9]+--tenant-a\.localhost:\d+\/$/);
    const authorization = `Bearer ${world.tenantTokens.a}`;
    const reached = await fetch(`${path}hello`, { headers: { authorization } });
    assert.equal(reached.status, 200, await reached.text());
    const { items } = (await call('GET', '/claims')).body;
    assert.ok(items.some(({ name }) => name === body.name));
    assert.equal((await call('GET', `/claims/${body.name}`)).body.sandbox, body.sandbox);
  });

  it('claims by template, and says what to do where no pool is of it', async () => {
    const made = await call('POST', '/claims', { template: 'shape', name: 'by-template', wait: '60s' });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    assert.equal(made.body.pool, 'pool');
    const refused = await call('POST', '/claims', { template: 'nothing' });
    assert.deepEqual([refused.status, refused.body.code], [404, 'pool_not_found']);
    assert.match(String(refused.body.detail), /of the template nothing: make one/);
  });

  it('claims once for a key, whichever replica is asked, and refuses another body', async () => {
    const headers = { 'idempotency-key': 'order-42' };
    const ask = { pool: 'pool', env: [{ name: 'A', value: '1' }] };
    const answers = await Promise.all(
      [world.url, other.url, world.url, other.url].map((url) => call('POST', '/claims', ask, { url, headers })),
    );
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 200, 200, 201]);
    assert.equal(new Set(answers.map(({ body }) => body.name)).size, 1);
    const again = await call('POST', '/claims', { env: ask.env, wait: '1s', pool: 'pool' }, { headers });
    assert.equal(again.status, 200, 'order of fields and waiting make no other request');
    const mismatch = await call('POST', '/claims', { ...ask, lifetime: '1h' }, { headers });
    assert.deepEqual([mismatch.status, mismatch.body.code], [422, 'idempotency_mismatch']);
    const foreign = await call('POST', '/claims', ask, { headers, token: world.tenantTokens.b });
    assert.equal(foreign.status, 201, 'keys are of one tenant');
    assert.notEqual(foreign.body.name, answers[0]?.body.name);
    const { items } = await world.client.list<SandboxClaim>(SANDBOX_CLAIMS, { namespace: 'tenant-a' });
    assert.equal(items.filter(({ spec }) => spec.env?.[0]?.name === 'A').length, 1);
  });

  it('puts an end off, and deletes', async () => {
    const made = await call('POST', '/claims', { pool: 'pool', name: 'short', lifetime: '10m' });
    assert.equal(made.status, 201);
    const later = await call('POST', '/claims/short/extend', { lifetime: '2h' });
    assert.ok(Date.parse(later.body.shutdownTime) - Date.parse(made.body.shutdownTime) > 6_000_000);
    const sooner = await call('POST', '/claims/short/extend', { lifetime: '1m' });
    assert.deepEqual([sooner.status, sooner.body.code], [400, 'bad_request']);
    assert.equal((await call('DELETE', '/claims/short')).status, 204);
    await until('it is gone', async () => (await call('GET', '/claims/short')).body.code === 'claim_not_found');
  });

  const refusals: [what: string, method: string, path: string, body: unknown, code: string, detail: RegExp][] = [
    ['no pool', 'POST', '/claims', {}, 'bad_request', /body: exactly one of "pool", "template"/],
    ['pool and template', 'POST', '/claims', { pool: 'pool', template: 'x' }, 'bad_request', /exactly one/],
    ['an unknown field', 'POST', '/claims', { pool: 'pool', colour: 1 }, 'bad_request', /unknown field "colour"/],
    ['a wrong type', 'POST', '/claims', { pool: 7 }, 'bad_request', /body\.pool must be string/],
    ['a bad name', 'POST', '/claims', { pool: 'pool', name: 'No' }, 'bad_request', /body\.name must match/],
    [
      'two ends',
      'POST',
      '/claims',
      { pool: 'pool', lifetime: '1h', shutdownTime: '2030-01-01T00:00:00Z' },
      'bad_request',
      /exclude/,
    ],
    [
      'an end in the past',
      'POST',
      '/claims',
      { pool: 'pool', shutdownTime: '2020-01-01T00:00:00Z' },
      'bad_request',
      /ahead/,
    ],
    ['too long a wait', 'POST', '/claims', { pool: 'pool', wait: '1h' }, 'bad_request', /2m at most/],
    ['no such pool', 'POST', '/claims', { pool: 'nothing' }, 'pool_not_found', /no SandboxWarmPool nothing/],
    [
      'a foreign namespace',
      'POST',
      '/claims',
      { pool: 'pool', namespace: 'tenant-b' },
      'forbidden',
      /may not claim in tenant-b/,
    ],
    [
      'an unknown namespace',
      'POST',
      '/claims',
      { pool: 'pool', namespace: 'nowhere' },
      'forbidden',
      /may not claim in nowhere/,
    ],
    ['a name that is taken', 'POST', '/claims', { pool: 'pool', name: 'by-template' }, 'claim_exists', /by-template/],
    ['an unknown claim', 'GET', '/claims/nothing', undefined, 'claim_not_found', /no claim nothing/],
    ['an unknown query', 'GET', '/claims?colour=red', undefined, 'bad_request', /unknown field "colour"/],
    ['restoring what runs', 'POST', '/sandboxes/box/restore', { snapshot: 'x' }, 'snapshot_not_found', /no snapshot x/],
  ];
  for (const [what, method, path, body, code, detail] of refusals)
    it(`refuses ${what} and makes nothing`, async () => {
      const before = await world.client.list(SANDBOX_CLAIMS, { namespace: 'tenant-a' });
      const answer = await call(method, path, body);
      assert.equal(answer.body.code, code, JSON.stringify(answer.body));
      assert.match(String(answer.body.detail), detail);
      const after = await world.client.list(SANDBOX_CLAIMS, { namespace: 'tenant-a' });
      assert.equal(after.items.length, before.items.length);
    });

  it('shows, extends and deletes no foreign claim, nor tells it from one that is not there', async () => {
    const { body } = await call('POST', '/claims', { pool: 'pool', name: 'theirs' }, { token: world.tenantTokens.b });
    assert.equal(body.namespace, 'tenant-b');
    for (const [method, suffix, sent] of [
      ['GET', '', undefined],
      ['DELETE', '', undefined],
      ['POST', '/extend', { lifetime: '1h' }],
    ] as const) {
      const ask = async (name: string) => {
        const answer = await call(method, `/claims/${name}${suffix}?namespace=tenant-b`, sent);
        const { requestId: _, ...rest } = answer.body;
        return JSON.stringify([answer.status, rest]).replaceAll('nobody', 'theirs');
      };
      assert.equal(await ask('theirs'), await ask('nobody'));
      assert.match(await ask('theirs'), /claim_not_found/);
    }
    assert.deepEqual((await call('GET', '/claims?namespace=tenant-b')).body.items, []);
    assert.ok(await world.client.get(SANDBOX_CLAIMS, { namespace: 'tenant-b', name: 'theirs' }));
  });

  it('lists snapshots of a sandbox, and starts it from the one that is named', async () => {
    const { client } = world;
    await createReady(client, echoSandbox('memory', { namespace: 'tenant-a' }));
    const take = (name: string, origin: string) =>
      client.create<PodSnapshot>(POD_SNAPSHOTS, {
        apiVersion: 'podsnapshot.gke.io/v1',
        kind: 'PodSnapshot',
        metadata: {
          namespace: 'tenant-a',
          name,
          labels: { [NAME_HASH_LABEL]: nameHash('memory') },
          annotations: { 'podsnapshot.gke.io/origin-pod': origin },
        },
        spec: {},
      } as PodSnapshot);
    const complete = (name: string) =>
      client.patch(
        POD_SNAPSHOTS,
        { namespace: 'tenant-a', name },
        {
          status: {
            conditions: [
              {
                type: 'Ready',
                status: 'True',
                lastTransitionTime: '2026-01-01T00:00:00Z',
                reason: 'Complete',
                message: '',
              },
            ],
          },
        },
        { type: 'merge', subresource: 'status' },
      );
    await take('good', 'memory');
    await take('half', 'memory');
    await take('stranger', 'other-name-of-the-same-hash');
    await complete('good');
    await complete('stranger');
    const listed = (await call('GET', '/sandboxes/memory/snapshots')).body as unknown as {
      items: { name: string; ready: boolean }[];
    };
    assert.deepEqual(listed.items.map(({ name, ready }) => `${name} ${ready}`).sort(), ['good true', 'half false']);
    const restore = (snapshot: string) => call('POST', '/sandboxes/memory/restore', { snapshot });
    assert.equal((await restore('good')).body.code, 'not_paused');
    await pause(client, 'memory', 'tenant-a');
    await until('the router knows', async () => (await call('GET', '/sandboxes/memory')).body.state === 'paused');
    assert.equal((await restore('half')).body.code, 'snapshot_not_found');
    assert.equal((await restore('stranger')).body.code, 'snapshot_not_found');
    assert.equal((await restore('good')).status, 202);
    const sandbox = await client.get<Sandbox>(SANDBOXES, { namespace: 'tenant-a', name: 'memory' });
    assert.equal(sandbox.spec.podTemplate.metadata?.annotations?.['podsnapshot.gke.io/ps-name'], 'good');
    assert.equal(sandbox.spec.operatingMode, 'Running');
  });

  it('describes itself by the schemas that it checks with', async () => {
    const document = (await (await fetch(`${world.url}/-/v1/openapi.json`)).json()) as {
      openapi: string;
      paths: Record<
        string,
        Record<string, { requestBody?: { content: Record<string, { schema: { properties: object } }> } }>
      >;
    };
    assert.match(document.openapi, /^3\./);
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    for (const wanted of [
      'get /-/v1/claims',
      'post /-/v1/claims',
      'delete /-/v1/claims/{name}',
      'post /-/v1/claims/{name}/extend',
      'get /-/v1/sandboxes',
      'post /-/v1/sandboxes/{name}/pause',
      'post /-/v1/sandboxes/{name}/restore',
      'get /-/v1/sandboxes/{name}/snapshots',
      'get /-/v1/events',
    ])
      assert.ok(operations.includes(wanted), `${wanted} of ${operations.join(', ')}`);
    const body = document.paths['/-/v1/claims']?.post?.requestBody?.content['application/json']?.schema;
    assert.ok(Object.keys(body?.properties ?? {}).includes('pool'));
  });

  describe('events', () => {
    /** What a tenant hears as Server-Sent Events. */
    async function listen(token: string, more: { lastEventId?: string; query?: string; url?: string } = {}) {
      const closing = new AbortController();
      const headers: Record<string, string> = { authorization: `Bearer ${token}` };
      if (more.lastEventId !== undefined) headers['last-event-id'] = more.lastEventId;
      const answer = await fetch(`${more.url ?? world.url}/-/v1/events${more.query ?? ''}`, {
        headers,
        signal: closing.signal,
      });
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get('content-type'), 'text/event-stream');
      const heard = { text: '', ended: false };
      const reading = (async () => {
        for await (const chunk of answer.body ?? []) heard.text += Buffer.from(chunk as Uint8Array).toString();
      })();
      reading.catch(() => {}).finally(() => (heard.ended = true));
      await until('it has begun', () => heard.text.includes('\n\n'));
      return { heard, close: () => closing.abort() };
    }
    const typesOf = (text: string, sandbox: string) =>
      [...text.matchAll(/^data: (\{.*\})$/gm)]
        .map(([, json]) => JSON.parse(json as string) as { type: string; sandbox: string; namespace: string })
        .filter((event) => event.sandbox === sandbox)
        .map(({ type }) => type);

    it('tell the life of a sandbox to its tenant and to nobody else, and go on where one was', async () => {
      const [mine, theirs] = [await listen(world.tenantTokens.a), await listen(world.tenantTokens.b)];
      await createReady(world.client, echoSandbox('eventful', { namespace: 'tenant-a' }));
      await until('it runs', () => typesOf(mine.heard.text, 'eventful').includes('running'));
      await pause(world.client, 'eventful', 'tenant-a');
      await until('it is paused', () => typesOf(mine.heard.text, 'eventful').includes('paused'));
      await call('POST', '/sandboxes/eventful/resume');
      await until('it runs again', () => typesOf(mine.heard.text, 'eventful').at(-1) === 'running');
      await world.client.delete(SANDBOXES, { namespace: 'tenant-a', name: 'eventful' });
      await until('it is gone', () => typesOf(mine.heard.text, 'eventful').at(-1) === 'deleted');
      const types = typesOf(mine.heard.text, 'eventful').filter((type) => type !== 'finished');
      assert.deepEqual(
        [...new Set(types)].sort(),
        ['created', 'deleted', 'paused', 'pausing', 'running', 'starting', 'waking'].sort(),
        types.join(),
      );
      assert.equal(types[0], 'created');
      await createReady(world.client, echoSandbox('quiet', { namespace: 'tenant-b' }));
      await until('they hear their own', () => typesOf(theirs.heard.text, 'quiet').includes('running'));
      assert.doesNotMatch(theirs.heard.text, /eventful|tenant-a/);
      const firstId = /^id: (\S+)\nevent: created\n.*"eventful"/m.exec(mine.heard.text)?.[1] ?? '';
      const resumed = await listen(world.tenantTokens.a, { lastEventId: firstId });
      await until('it hears what it missed', () => typesOf(resumed.heard.text, 'eventful').at(-1) === 'deleted');
      assert.equal(typesOf(resumed.heard.text, 'eventful').length, typesOf(mine.heard.text, 'eventful').length - 1);
      const elsewhere = await listen(world.tenantTokens.a, { lastEventId: firstId, url: other.url });
      await until('another replica can not know', () => elsewhere.heard.text.includes('event: reset'));
      for (const stream of [mine, theirs, resumed, elsewhere]) stream.close();
    });

    it('come by WebSocket too, with refusals as answers', async () => {
      const url = `${world.url.replace('http', 'ws')}/-/v1/events`;
      const refused = new WebSocket(url);
      const status = await new Promise((resolve) => {
        refused.on('unexpected-response', (_request, response) => resolve(response.statusCode));
        refused.on('error', () => {});
      });
      assert.equal(status, 401);
      const socket = new WebSocket(url, { headers: { authorization: `Bearer ${world.tenantTokens.a}` } });
      const heard: { type: string; sandbox: string }[] = [];
      socket.on('message', (data) => heard.push(JSON.parse(String(data))));
      await new Promise((resolve) => socket.once('open', resolve));
      await createReady(world.client, echoSandbox('sung', { namespace: 'tenant-a' }));
      await until('it is heard of', () => heard.some(({ type, sandbox }) => type === 'running' && sandbox === 'sung'));
      assert.deepEqual(
        heard.filter(({ sandbox }) => sandbox === 'box'),
        [],
      );
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.send('anything');
      assert.equal(await closed, 1003);
    });

    it('tell of a claim that gets a member of a pool, and of no member before', async () => {
      const stream = await listen(world.tenantTokens.a);
      const { body } = await call('POST', '/claims', { pool: 'pool', wait: '60s' });
      assert.equal(body.ready, true, JSON.stringify(body));
      const sandbox = String(body.sandbox);
      await until('it is told', () => typesOf(stream.heard.text, sandbox).length > 0);
      assert.match(String(typesOf(stream.heard.text, sandbox)[0]), /claimed|created/);
      stream.close();
    });

    it('end with a clear word when the router goes', async () => {
      const third = await world.anotherRouter(['--shutdown-delay', '0s']);
      await routerReady(third);
      const stream = await listen(world.tenantTokens.a, { url: third.url });
      const socket = new WebSocket(`${third.url.replace('http', 'ws')}/-/v1/events`, {
        headers: { authorization: `Bearer ${world.tenantTokens.a}` },
      });
      await new Promise((resolve) => socket.once('open', resolve));
      const closed = new Promise((resolve) => socket.once('close', resolve));
      await third.stop();
      assert.equal(await closed, 1001);
      assert.match(stream.heard.text, /event: end\ndata: \{"code":"going_away"/);
    });
  });
});
