import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, request as httpRequest, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createBusyLease, startBusySocket } from '../../src/engine/agent/busy.ts';
import { busyPortOf, followBusyLeases } from '../../src/engine/controllers/pod/busy-leases.ts';
import {
  BUSY_PORT_ANNOTATION,
  BUSY_UNTIL_ANNOTATION,
  BUSY_WHY_ANNOTATION,
  type Pod,
  type ResourceClient,
} from '../../src/kubernetes/index.ts';
import { until } from '../support/until.ts';

describe('the socket for busy leases inside a sandbox', () => {
  const directory = mkdtempSync(join(tmpdir(), 'busy-'));
  const socketPath = join(directory, 'run', 'busy.sock');
  const clock = { nowMs: 1_000_000 };
  const lease = createBusyLease(() => clock.nowMs);
  const server = startBusySocket(socketPath, lease, (error) => assert.fail(error));
  after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });

  async function call(method: string, body?: string, path = '/busy') {
    if (!server.listening) await once(server, 'listening');
    const asked = httpRequest({ socketPath, method, path });
    asked.end(body);
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    let text = '';
    for await (const chunk of response) text += chunk;
    return { status: response.statusCode, body: JSON.parse(text) as Record<string, unknown> };
  }

  it('gives a lease, renews it, shows it, and takes it back', async () => {
    assert.deepEqual((await call('GET')).body, { busy: false, remainingMs: 0, why: '', seen: false });
    const taken = await call('POST', '{"for":"10m","why":"training"}');
    assert.deepEqual(taken, { status: 200, body: { busy: true, remainingMs: 600_000, why: 'training', seen: false } });
    clock.nowMs += 60_000;
    lease.tell();
    assert.deepEqual((await call('GET')).body, { busy: true, remainingMs: 540_000, why: 'training', seen: true });
    assert.equal((await call('POST', '{"for":"1h"}')).body.remainingMs, 3_600_000);
    assert.equal((await call('DELETE')).body.busy, false);
    await call('POST', '{"for":"90s","why":"x"}');
    clock.nowMs += 90_000;
    assert.equal((await call('GET')).body.busy, false, 'it ends by itself');
  });

  it('can be used by everybody in the sandbox', async () => {
    if (!server.listening) await once(server, 'listening');
    assert.equal(statSync(socketPath).mode & 0o777, 0o666);
  });

  for (const [what, body, why] of [
    ['no JSON', 'for=10m', /must be JSON/],
    ['null', 'null', /"for" must be a duration/],
    ['no duration', '{"for":600}', /"for" must be a duration/],
    ['another unit', '{"for":"1d"}', /"for" must be a duration/],
    ['nothing', '{"for":"0s"}', /above 0/],
    ['too long', '{"for":"61m"}', /"1h" at most/],
    ['a reason that is no text', '{"for":"1m","why":{}}', /"why" must be a text/],
    ['a reason that is too long', JSON.stringify({ for: '1m', why: 'x'.repeat(201) }), /"why" must be a text/],
    ['too much', `{"for":"1m","why":"${'x'.repeat(5000)}"}`, /over 4096 bytes/],
  ] as const)
    it(`refuses ${what}, and changes nothing`, async () => {
      const before = lease.show();
      const { status, body: answer } = await call('POST', body);
      assert.equal(status, 400);
      assert.match(String(answer.message), why);
      assert.deepEqual(lease.show(), before);
    });

  it('serves nothing else', async () => {
    assert.equal((await call('GET', undefined, '/')).status, 404);
    assert.equal((await call('PUT', '{}')).status, 405);
  });
});

describe('the engine, of what sandboxes say of their leases', () => {
  /** A Pod whose agent answers so, and the annotations that come of it. */
  async function world(listener: RequestListener) {
    const server = createServer(listener).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const pod = {
      metadata: { name: 'p', namespace: 'n', uid: 'u', annotations: { [BUSY_PORT_ANNOTATION]: String(port) } },
    };
    const annotations: Record<string, string | null> = {};
    const clock = { nowMs: Date.parse('2026-01-01T00:00:00Z') };
    let writes = 0;
    let asked = 0;
    server.on('request', () => asked++);
    const client = {
      patch: async (_type: unknown, _key: unknown, patch: { metadata: { annotations: object } }) => {
        writes++;
        Object.assign(annotations, patch.metadata.annotations);
      },
    } as unknown as ResourceClient;
    const stop = followBusyLeases({
      client,
      running: () => [{ pod: pod as unknown as Pod, address: '127.0.0.1' }],
      now: () => new Date(clock.nowMs),
      failed: (_what, error) => assert.fail(error as Error),
      intervalMs: 10,
    });
    after(() => {
      stop();
      server.close();
      server.closeAllConnections();
    });
    return { annotations, clock, writes: () => writes, asked: () => asked };
  }

  it('writes a lease to the Pod, writes renewals now and then, and takes it away', async () => {
    let lease = { remainingMs: 600_000, why: 'training' };
    const { annotations, clock, writes, asked } = await world((_request, response) =>
      response.end(JSON.stringify(lease)),
    );
    await until('it is written', () => writes() === 1);
    assert.equal(annotations[BUSY_UNTIL_ANNOTATION], '2026-01-01T00:10:00.000Z');
    assert.equal(annotations[BUSY_WHY_ANNOTATION], 'training');
    lease = { remainingMs: 700_000, why: 'training' };
    const before = asked();
    await until('it was asked again', () => asked() > before + 3);
    assert.equal(writes(), 1, 'not for every renewal');
    clock.nowMs += 16_000;
    await until('it is renewed', () => writes() === 2);
    lease = { remainingMs: 0, why: '' };
    await until('it is taken away', () => writes() === 3);
    assert.deepEqual(annotations, { [BUSY_UNTIL_ANNOTATION]: null, [BUSY_WHY_ANNOTATION]: null });
  });

  it('believes no more than an hour, and no control characters', async () => {
    const { annotations, writes } = await world((_request, response) =>
      response.end(JSON.stringify({ remainingMs: 1e12, why: `\u001b[31m${'x'.repeat(1000)}`, more: 'x' })),
    );
    await until('it is written', () => writes() === 1);
    assert.equal(annotations[BUSY_UNTIL_ANNOTATION], '2026-01-01T01:00:00.000Z');
    assert.equal(annotations[BUSY_WHY_ANNOTATION]?.length, 200);
    assert.ok(annotations[BUSY_WHY_ANNOTATION]?.startsWith('?[31mx'));
  });

  for (const [what, listener] of [
    ['says something else', (_request, response) => response.end('hello')],
    ['says that it is not found', (_request, response) => response.writeHead(404).end('{"remainingMs":1000}')],
    ['says no number', (_request, response) => response.end('{"remainingMs":"1000"}')],
    ['talks without end', (_request, response) => response.end(`{"remainingMs":1000,"why":"${'x'.repeat(100_000)}"}`)],
  ] as [string, RequestListener][])
    it(`asks a sandbox that ${what} seldom, and writes nothing`, async () => {
      const { asked, writes } = await world(listener);
      await until('it was asked', () => asked() === 1);
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.deepEqual([asked(), writes()], [1, 0]);
    });

  it('asks a sandbox that does not answer again', async () => {
    const { asked, writes } = await world((request) => request.socket.destroy());
    await until('it was asked again', () => asked() > 2);
    assert.equal(writes(), 0);
  });

  it('asks the toolbox that runs its agent, and whoever names a port', () => {
    const pod = (container: object, annotations = {}) =>
      ({ metadata: { name: 'p', annotations }, spec: { containers: [container] } }) as unknown as Pod;
    assert.equal(busyPortOf(pod({ image: 'sandbox-router.local/toolbox' })), 8888);
    assert.equal(busyPortOf(pod({ image: 'sandbox-router.local/toolbox', command: ['sh'] })), undefined);
    assert.equal(busyPortOf(pod({ image: 'nginx' })), undefined);
    assert.equal(busyPortOf(pod({ image: 'nginx' }, { [BUSY_PORT_ANNOTATION]: '9000' })), 9000);
    assert.equal(busyPortOf(pod({ image: 'nginx' }, { [BUSY_PORT_ANNOTATION]: '99999' })), undefined);
  });
});
