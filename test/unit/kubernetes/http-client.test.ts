import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, describe, it } from 'node:test';
import {
  ApiError,
  createHttpResourceClient,
  type HttpResourceClient,
  PODS,
  type Pod,
  SANDBOXES,
  servedSandboxVersions,
  type WatchEvent,
} from '../../../src/kubernetes/index.ts';

interface Seen {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: string;
}

describe('the HTTP resource client', () => {
  let server: Server;
  let client: HttpResourceClient;
  let seen: Seen[] = [];
  let answer: (response: ServerResponse, request: Seen) => void;
  let authenticate = () => ({ authorization: 'Bearer one' });

  const sendJson = (status: number, body: unknown) => (response: ServerResponse) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

  before(async () => {
    server = createServer(async (request, response) => {
      const one = {
        method: request.method ?? '',
        url: request.url ?? '',
        headers: request.headers,
        body: await text(request),
      };
      seen.push(one);
      answer(response, one);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    client = createHttpResourceClient({
      server: `http://127.0.0.1:${port}/clusters/one/`,
      skipVerify: false,
      authenticate: () => authenticate(),
      namespace: 'default',
    });
  });
  after(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  beforeEach(() => {
    seen = [];
    authenticate = () => ({ authorization: 'Bearer one' });
  });

  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', namespace: 'n' }, spec: { containers: [] } };

  describe('asks for exactly what was meant', () => {
    const cases: { name: string; call: () => Promise<unknown>; request: string; body?: unknown; type?: string }[] = [
      {
        name: 'get',
        call: () => client.get(PODS, { namespace: 'n', name: 'a' }),
        request: 'GET /api/v1/namespaces/n/pods/a',
      },
      {
        name: 'list a page',
        call: () => client.list(SANDBOXES, { labelSelector: 'a=b,c', limit: 2, continue: 't/1' }),
        request: 'GET /apis/agents.x-k8s.io/v1beta1/sandboxes?limit=2&continue=t%2F1&labelSelector=a%3Db%2Cc',
      },
      {
        name: 'create',
        call: () => client.create(PODS, pod),
        request: 'POST /api/v1/namespaces/n/pods',
        body: pod,
        type: 'application/json',
      },
      {
        name: 'update the status',
        call: () => client.update(PODS, pod, 'status'),
        request: 'PUT /api/v1/namespaces/n/pods/a/status',
        body: pod,
        type: 'application/json',
      },
      {
        name: 'merge patch',
        call: () => client.patch(PODS, pod.metadata, { a: null }, { type: 'merge', subresource: 'status' }),
        request: 'PATCH /api/v1/namespaces/n/pods/a/status',
        body: { a: null },
        type: 'application/merge-patch+json',
      },
      {
        name: 'JSON patch',
        call: () => client.patch(PODS, pod.metadata, [], { type: 'json' }),
        request: 'PATCH /api/v1/namespaces/n/pods/a',
        body: [],
        type: 'application/json-patch+json',
      },
      {
        name: 'server-side apply',
        call: () => client.patch(PODS, pod.metadata, pod, { type: 'apply', fieldManager: 'me', force: true }),
        request: 'PATCH /api/v1/namespaces/n/pods/a?fieldManager=me&force=true',
        body: pod,
        type: 'application/apply-patch+yaml',
      },
      {
        name: 'delete with preconditions',
        call: () => client.delete(PODS, pod.metadata, { uid: 'u', gracePeriodSeconds: 0 }),
        request: 'DELETE /api/v1/namespaces/n/pods/a',
        body: { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0, preconditions: { uid: 'u' } },
        type: 'application/json',
      },
    ];
    for (const { name, call, request, body, type } of cases)
      it(name, async () => {
        answer = sendJson(200, { items: [], metadata: { resourceVersion: '1' } });
        await call();
        const [one] = seen as [Seen];
        assert.equal(`${one.method} ${one.url.replace('/clusters/one', '')}`, request);
        assert.deepEqual(one.body === '' ? undefined : JSON.parse(one.body), body);
        assert.equal(one.headers['content-type'], type);
        assert.equal(one.headers.authorization, 'Bearer one');
      });
  });

  it('reaches a server behind a path prefix', async () => {
    answer = sendJson(200, pod);
    await client.get(PODS, pod.metadata);
    assert.equal(seen[0]?.url, '/clusters/one/api/v1/namespaces/n/pods/a');
  });

  it('asks for the credential anew with every call, as tokens are rotated', async () => {
    answer = sendJson(200, pod);
    await client.get(PODS, pod.metadata);
    authenticate = () => ({ authorization: 'Bearer two' });
    await client.get(PODS, pod.metadata);
    assert.deepEqual(
      seen.map(({ headers }) => headers.authorization),
      ['Bearer one', 'Bearer two'],
    );
  });

  it('asks a server that is too busy again, when it says so and never otherwise', async () => {
    const busy = sendJson(429, {
      kind: 'Status',
      reason: 'TooManyRequests',
      code: 429,
      details: { retryAfterSeconds: 0.01 },
    });
    const pod = sendJson(200, { metadata: { name: 'a' } });
    seen = [];
    answer = (response) => (seen.length < 3 ? busy(response) : pod(response));
    await client.patch(PODS, { namespace: 'default', name: 'a' }, { metadata: {} }, { type: 'merge' });
    assert.equal(seen.length, 3);
    seen = [];
    answer = sendJson(503, {
      kind: 'Status',
      reason: 'ServiceUnavailable',
      code: 503,
      details: { retryAfterSeconds: 0.01 },
    });
    await assert.rejects(client.get(PODS, { namespace: 'default', name: 'a' }), { code: 'ServiceUnavailable' });
    assert.equal(seen.length, 1);
  });

  it('names kind and apiVersion of list items, which servers leave out', async () => {
    answer = sendJson(200, { items: [{ metadata: { name: 'a' } }], metadata: { resourceVersion: '7', continue: '' } });
    const list = await client.list<Pod>(PODS);
    assert.deepEqual(list, {
      items: [{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' } }],
      resourceVersion: '7',
    });
  });

  describe('turns failures into ApiError', () => {
    const status = (code: number, reason: string, message: string) => ({
      apiVersion: 'v1',
      kind: 'Status',
      metadata: {},
      status: 'Failure',
      reason,
      message,
      code,
    });
    const cases: {
      name: string;
      code: number;
      body: string;
      expected: { code: string; statusCode: number; message: RegExp };
    }[] = [
      {
        name: "the server's Status",
        code: 409,
        body: JSON.stringify(status(409, 'Conflict', 'pods "a" has changed')),
        expected: { code: 'Conflict', statusCode: 409, message: /^pods "a" has changed$/ },
      },
      {
        name: 'AlreadyExists, which shares its number with Conflict',
        code: 409,
        body: JSON.stringify(status(409, 'AlreadyExists', 'pods "a" already exists')),
        expected: { code: 'AlreadyExists', statusCode: 409, message: /already exists/ },
      },
      {
        name: 'Gone, as Expired',
        code: 410,
        body: JSON.stringify(status(410, 'Gone', 'too old')),
        expected: { code: 'Expired', statusCode: 410, message: /too old/ },
      },
      {
        name: 'a page of a proxy in between',
        code: 503,
        body: '<html>busy</html>',
        expected: { code: 'ServiceUnavailable', statusCode: 503, message: /answered 503: <html>busy/ },
      },
      {
        name: 'JSON that is no Status',
        code: 404,
        body: '{"kind":"Pod"}',
        expected: { code: 'NotFound', statusCode: 404, message: /answered 404/ },
      },
    ];
    for (const { name, code, body, expected } of cases)
      it(name, async () => {
        answer = (response) => response.writeHead(code).end(body);
        await assert.rejects(client.get(PODS, pod.metadata), (error) => {
          assert.ok(error instanceof ApiError);
          assert.equal(error.code, expected.code);
          assert.equal(error.statusCode, expected.statusCode);
          assert.match(error.message, expected.message);
          return true;
        });
      });

    it('no answer at all, with the cause', async () => {
      answer = (response) => response.destroy();
      await assert.rejects(client.get(PODS, pod.metadata), (error) => {
        assert.ok(error instanceof ApiError);
        assert.equal(error.code, 'Unreachable');
        assert.ok(error.cause instanceof Error);
        return true;
      });
    });
  });

  describe('watches', () => {
    const collect = async (signal = new AbortController().signal) => {
      const events: WatchEvent<Pod>[] = [];
      for await (const event of client.watch<Pod>(PODS, { resourceVersion: '5', signal })) events.push(event);
      return events;
    };

    it('as a stream of JSON lines, however they are cut into chunks', async () => {
      const lines = ['ä', 'b', 'ccc'].map((name) => ({ type: 'ADDED', object: { metadata: { name } } }));
      const bytes = Buffer.from(`${lines.map((line) => JSON.stringify(line)).join('\n')}\n`);
      answer = async (response) => {
        for (const byte of bytes) if (!response.write(Buffer.from([byte]))) await once(response, 'drain');
        response.end();
      };
      assert.deepEqual(await collect(), lines);
      const { searchParams } = new URL(seen[0]?.url ?? '', 'http://x');
      assert.equal(searchParams.get('watch'), 'true');
      assert.equal(searchParams.get('allowWatchBookmarks'), 'true');
      assert.equal(searchParams.get('resourceVersion'), '5');
    });

    for (const reason of ['Expired', 'Gone'])
      it(`to the end at an ERROR event 410 ${reason}: ApiError Expired`, async () => {
        const error = { type: 'ERROR', object: { kind: 'Status', code: 410, reason, message: 'too old' } };
        answer = (response) => response.end(`${JSON.stringify(error)}\n`);
        await assert.rejects(collect(), { name: 'ApiError', code: 'Expired', message: 'too old' });
      });

    it('to the end at a 410 answer: ApiError Expired', async () => {
      answer = sendJson(410, { kind: 'Status', code: 410, reason: 'Gone' });
      await assert.rejects(collect(), { name: 'ApiError', code: 'Expired' });
    });

    it('until the connection breaks: ApiError Unreachable', async () => {
      answer = (response) => {
        response.write('{"type":"ADDED","object":{"metadata":{}}}\n', () => response.destroy());
      };
      await assert.rejects(collect(), { name: 'ApiError', code: 'Unreachable' });
    });

    it('until the signal aborts, without an error', async () => {
      const abort = new AbortController();
      answer = (response) => {
        response.writeHead(200).flushHeaders();
        abort.abort();
      };
      assert.deepEqual(await collect(abort.signal), []);
    });
  });

  it('tells which versions of Sandbox are served, in the order the server prefers', async () => {
    const documents: Record<string, unknown> = {
      '/apis/agents.x-k8s.io': { versions: [{ version: 'v1beta1' }, { version: 'v1alpha1' }, { version: 'v1' }] },
      '/apis/agents.x-k8s.io/v1beta1': { resources: [{ name: 'sandboxes' }, { name: 'sandboxes/status' }] },
      '/apis/agents.x-k8s.io/v1alpha1': { resources: [{ name: 'sandboxes' }] },
      '/apis/agents.x-k8s.io/v1': { resources: [{ name: 'others' }] },
    };
    answer = (response, { url }) => {
      const found = documents[url.replace('/clusters/one', '')];
      sendJson(found === undefined ? 404 : 200, found ?? {})(response);
    };
    assert.deepEqual(await servedSandboxVersions(client), ['v1beta1', 'v1alpha1']);
    answer = sendJson(404, {});
    assert.deepEqual(await servedSandboxVersions(client), []);
  });
});
