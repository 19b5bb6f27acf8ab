import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import WebSocket from 'ws';
import { SANDBOXES } from '../../src/kubernetes/index.ts';
import { exposedMetrics, metricUses, queriesOf, readDashboard } from '../support/dashboard.ts';
import { freePort } from '../support/free-port.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';
import { type RawAnswer, rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause, routerReady } from './world.ts';

const SERVER = 2;
const CLIENT = 3;
const ERROR = 2;

describe('telemetry of a router', { skip: missingTool('etcd', 'kube-apiserver'), timeout: 200_000 }, () => {
  let world: ClusterWorld;
  let receiver: OtlpReceiver;
  let traced: ServeProcess;
  /** Traces nothing but what a caller has decided to trace; its requests are answered by a worker. */
  let sparing: ServeProcess;

  before(async () => {
    receiver = await startOtlpReceiver();
    world = await clusterWorld({ startMs: 150, skips: ({ metadata }) => metadata.name === 'stuck' });
    const environment = {
      OTEL_BSP_SCHEDULE_DELAY: '50',
      OTEL_EXPORTER_OTLP_ENDPOINT: `${receiver.url}/`,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-receiver-key=key-of-the-receiver',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    };
    [traced, sparing] = await Promise.all([
      world.anotherRouter(
        ['--lease-namespace', 'default', '--activity-interval', '1s', '--pod-snapshots', 'off'],
        world.kube.kubeconfigPath,
        {
          options: [],
          environment,
        },
      ),
      world.anotherRouter(
        ['--traces-endpoint', receiver.url, '--traces-ratio', '0', '--workers', '1'],
        world.kube.kubeconfigPath,
        {
          options: [],
          environment: { OTEL_BSP_SCHEDULE_DELAY: '50' },
        },
      ),
    ]);
    await Promise.all([routerReady(traced), routerReady(sparing)]);
    await Promise.all([
      createReady(world.client, echoSandbox('box')),
      createReady(world.client, echoSandbox('sleeper')),
      createReady(
        world.client,
        echoSandbox('idle', { metadata: { annotations: { 'sandbox-router/idle-timeout': '1s' } } }),
      ),
    ]);
  });
  after(async () => {
    await traced?.stop('SIGKILL');
    await sparing?.stop('SIGKILL');
    await world?.close();
    await receiver?.close();
  });

  const caller = () => ({ traceId: randomBytes(16).toString('hex'), spanId: randomBytes(8).toString('hex') });
  const ask = (router: { url: string }, path: string, headers: Record<string, string> = {}) =>
    rawRequest(router.url, { path, headers: { authorization: `Bearer ${world.token}`, ...headers } });
  /** Header of the name as the sandbox got it; undefined if it did not. */
  const passedOn = ({ body }: RawAnswer, name: string): string[] => {
    const { rawHeaders } = JSON.parse(body) as { rawHeaders: string[] };
    return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name);
  };
  const spansOf = (traceId: string, wanted: number) =>
    until(`${wanted} spans of ${traceId} are exported`, async () => {
      const found = receiver.spans.filter((span) => span.traceId === traceId);
      return found.length >= wanted ? found : undefined;
    });
  const kindOf = (spans: readonly ReceivedSpan[], kind: number): ReceivedSpan => {
    const found = spans.filter((span) => span.kind === kind);
    assert.equal(found.length, 1);
    return found[0] as ReceivedSpan;
  };

  it('the trace of a caller goes on through the router to the sandbox, and the spans tell what came of the request', async () => {
    const { traceId, spanId } = caller();
    const headers = { traceparent: `00-${traceId}-${spanId}-01`, tracestate: 'vendor=opaque' };
    const answer = await ask(traced, '/box/hidden/path?secret=in-the-query', headers);
    assert.equal(answer.status, 200);
    const spans = await spansOf(traceId, 2);
    const server = kindOf(spans, SERVER);
    const client = kindOf(spans, CLIENT);
    assert.equal(server.parentSpanId, spanId);
    assert.equal(client.parentSpanId, server.spanId);
    assert.deepEqual(passedOn(answer, 'traceparent'), [`00-${traceId}-${client.spanId}-01`]);
    assert.deepEqual(passedOn(answer, 'tracestate'), ['vendor=opaque']);
    assert.equal(server.traceState, 'vendor=opaque');
    assert.equal(server.name, 'GET /{sandbox}/{rest}');
    assert.deepEqual(server.attributes, {
      'http.request.method': 'GET',
      'network.protocol.version': '1.1',
      'http.route': '/{sandbox}/{rest}',
      'sandbox_router.address_form': 'path',
      'sandbox_router.sandbox': 'box',
      'sandbox_router.namespace': 'default',
      'sandbox_router.tenant': 'default',
      'http.response.status_code': 200,
    });
    assert.equal(client.attributes['http.response.status_code'], 200);
    assert.equal(client.attributes['server.port'], 8888);
    assert.equal(server.resource['service.name'], 'sandbox-router');
    assert.equal(server.resource['deployment.environment.name'], 'test');
    assert.ok(server.startMs <= client.startMs && client.endMs <= server.endMs);
    assert.ok(Math.abs(server.endMs - Date.now()) < 60_000);
  });

  it('a request that waits for its sandbox has the phases of the wake as children, as long as Server-Timing says', async () => {
    await pause(world.client, 'sleeper');
    const { traceId, spanId } = caller();
    const answer = await ask(traced, '/sleeper/', { traceparent: `00-${traceId}-${spanId}-01` });
    assert.equal(answer.status, 200);
    const timing = answer.headers.get('server-timing')?.join() ?? '';
    const spans = await spansOf(traceId, 7);
    const server = kindOf(spans, SERVER);
    for (const phase of ['queue', 'schedule', 'restore', 'ready', 'connect']) {
      const span = spans.find(({ name }) => name === `wake ${phase}`);
      assert.ok(span !== undefined, `there is a span of the phase ${phase}`);
      assert.equal(span.parentSpanId, server.spanId);
      assert.ok(span.startMs >= server.startMs - 0.01 && span.endMs <= server.endMs + 0.01);
      const told = Number(new RegExp(`${phase};dur=([\\d.]+)`).exec(timing)?.[1]);
      // The request may have come a moment before its wake began.
      assert.ok(Math.abs(span.endMs - span.startMs - told) < 1, `${phase} took ${span.endMs - span.startMs} ms`);
    }
    const waitedMs = spans.find(({ name }) => name === 'wake connect')?.endMs ?? 0;
    assert.ok(kindOf(spans, CLIENT).startMs >= waitedMs - 0.1, 'it goes to the pod after the wake');
  });

  it('a wake that does not end in time leaves an error, with the phase that went on', async () => {
    const paused = echoSandbox('stuck', { spec: { operatingMode: 'Suspended' } });
    await world.client.create(SANDBOXES, paused);
    await until(
      'it is routed',
      async () => (await ask(traced, '/stuck/', { 'x-sandbox-timeout': '0.5' })).status === 503,
    );
    const { traceId, spanId } = caller();
    const answer = await ask(traced, '/stuck/', {
      traceparent: `00-${traceId}-${spanId}-01`,
      'x-sandbox-timeout': '0.75',
    });
    assert.equal(answer.status, 503);
    const spans = await spansOf(traceId, 2);
    const server = kindOf(spans, SERVER);
    assert.equal(server.statusCode, ERROR);
    assert.equal(server.attributes['error.type'], 'waking');
    assert.ok(spans.some(({ attributes }) => attributes['sandbox_router.unfinished'] === true));
    assert.ok(spans.every(({ kind }) => kind !== CLIENT));
  });

  it('a sandbox that breaks off is an error of both spans; a refused caller is none, and leaves what the answer says', async () => {
    const broken = caller();
    await ask(traced, '/box/reset', { traceparent: `00-${broken.traceId}-${broken.spanId}-01` });
    const spans = await spansOf(broken.traceId, 2);
    for (const kind of [SERVER, CLIENT]) {
      assert.equal(kindOf(spans, kind).statusCode, ERROR);
      assert.equal(kindOf(spans, kind).attributes['error.type'], 'upstream_reset');
    }
    const refused = caller();
    const answer = await ask(traced, '/box/', {
      authorization: 'Bearer wrong-token',
      traceparent: `00-${refused.traceId}-${refused.spanId}-01`,
    });
    assert.equal(answer.status, 401);
    const server = kindOf(await spansOf(refused.traceId, 1), SERVER);
    assert.notEqual(server.statusCode, ERROR);
    assert.equal(server.attributes['sandbox_router.problem'], 'unauthenticated');
    assert.equal(server.attributes['sandbox_router.request_id'], JSON.parse(answer.body).requestId);
  });

  it('a WebSocket has the span of its handshake', async () => {
    const { traceId, spanId } = caller();
    const socket = new WebSocket(`${traced.url.replace('http', 'ws')}/box/`, {
      headers: { authorization: `Bearer ${world.token}`, traceparent: `00-${traceId}-${spanId}-01` },
    });
    await once(socket, 'open');
    const spans = await spansOf(traceId, 2);
    assert.equal(kindOf(spans, SERVER).attributes['http.response.status_code'], 101);
    assert.equal(socket.readyState, WebSocket.OPEN);
    socket.terminate();
  });

  it('what is not sampled is not exported, and the sandbox is told so; the decision of a caller is followed', async () => {
    const before = receiver.spans.length;
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(sparing, '/box/')));
    const unsampled = answers.map((answer) => {
      const [header = ''] = passedOn(answer, 'traceparent');
      assert.match(header, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
      return header.slice(3, 35);
    });
    const not = caller();
    const refused = await ask(traced, '/box/', { traceparent: `00-${not.traceId}-${not.spanId}-00` });
    assert.match(passedOn(refused, 'traceparent')[0] ?? '', new RegExp(`^00-${not.traceId}-[0-9a-f]{16}-00$`));
    // Batches go in order: with one that comes later, an earlier one would be there.
    for (const router of [sparing, traced]) {
      const wanted = caller();
      await ask(router, '/box/', { traceparent: `00-${wanted.traceId}-${wanted.spanId}-01` });
      await spansOf(wanted.traceId, 2);
    }
    const exported = new Set(receiver.spans.slice(before).map(({ traceId }) => traceId));
    assert.ok([...unsampled, not.traceId].every((traceId) => !exported.has(traceId)));
  });

  it('a header that is none of W3C begins a new trace', async () => {
    const answer = await ask(traced, '/box/', { traceparent: 'garbage', tracestate: 'vendor=opaque' });
    const [header = ''] = passedOn(answer, 'traceparent');
    assert.match(header, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    assert.deepEqual(passedOn(answer, 'tracestate'), []);
    const spans = await spansOf(header.slice(3, 35), 2);
    assert.equal(kindOf(spans, SERVER).parentSpanId, undefined);
  });

  it('neither tokens nor queries nor paths are in what is exported', () => {
    const wire = receiver.wire();
    for (const secret of [world.token, 'wrong-token', 'in-the-query', 'hidden/path'])
      assert.ok(!wire.includes(secret), `${secret} is not exported`);
    assert.ok(wire.includes('"x-receiver-key":"key-of-the-receiver"'), 'the receiver is told who sends');
    assert.ok(!traced.output().includes('key-of-the-receiver'));
  });

  it('without traces the headers of callers pass through as they are', async () => {
    const headers = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1' };
    const answer = await ask(world, '/box/', headers);
    assert.deepEqual(passedOn(answer, 'traceparent'), [headers.traceparent]);
    assert.deepEqual(passedOn(answer, 'tracestate'), [headers.tracestate]);
    assert.deepEqual(passedOn(await ask(world, '/box/'), 'traceparent'), []);
  });

  it('every metric and label that the dashboard asks for is exposed', async () => {
    const exposed = await until('an idle sandbox was paused', async () => {
      const texts = [world, traced, sparing].map(async ({ adminUrl }) => (await fetch(`${adminUrl}/metrics`)).text());
      const text = (await Promise.all(texts)).join('\n');
      return /^sandbox_router_idle_pauses_total\{.*"ok"/m.test(text) ? exposedMetrics(text) : undefined;
    });
    for (const query of queriesOf(readDashboard()))
      for (const { metric, labels } of metricUses(query)) {
        assert.ok(exposed.has(metric), `${metric} is exposed`);
        for (const label of labels) assert.ok(exposed.get(metric)?.has(label), `${metric} has ${label}`);
      }
  });

  it('spans are flushed when a router ends', async () => {
    const flags = ['--traces-endpoint', receiver.url, '--shutdown-delay', '0s'];
    const environment = { OTEL_BSP_SCHEDULE_DELAY: '600000' };
    const brief = await world.anotherRouter(flags, world.kube.kubeconfigPath, { options: [], environment });
    await routerReady(brief);
    const last = caller();
    await ask(brief, '/box/', { traceparent: `00-${last.traceId}-${last.spanId}-01` });
    assert.equal(await brief.stop(), 0);
    assert.equal(receiver.spans.filter((span) => span.traceId === last.traceId).length, 2);
  });

  it('a receiver that is away costs spans and no requests: they are counted, told of once, and do not hold up the end', async () => {
    const away = `http://127.0.0.1:${await freePort()}`;
    const flags = ['--traces-endpoint', away, '--shutdown-delay', '0s', '--drain-timeout', '1s'];
    const environment = { OTEL_BSP_SCHEDULE_DELAY: '50', OTEL_EXPORTER_OTLP_TIMEOUT: '500' };
    const router = await world.anotherRouter(flags, world.kube.kubeconfigPath, { options: [], environment });
    await routerReady(router);
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(Array.from({ length: 50 }, () => ask(router, '/box/status/204')));
      assert.ok(answers.every(({ status }) => status === 204));
    }
    const dropped = await until('spans are dropped', async () => {
      const text = await (await fetch(`${router.adminUrl}/metrics`)).text();
      const count = Number(/^sandbox_router_trace_spans_dropped_total (\d+)/m.exec(text)?.[1]);
      return count > 0 ? count : undefined;
    });
    assert.ok(dropped > 0);
    const told = router.output().match(/sending traces: \d+ spans were lost/g) ?? [];
    assert.equal(told.length, 1, router.output());
    assert.ok((await ask(router, '/box/')).status === 200);
    const beganMs = performance.now();
    assert.equal(await router.stop(), 0);
    assert.ok(performance.now() - beganMs < 15_000);
  });
});
