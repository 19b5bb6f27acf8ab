import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import WebSocket from 'ws';
import { SANDBOXES } from '../../src/kubernetes/index.ts';
import { rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, routerReady } from './world.ts';

describe('bounds of time', { skip: missingTool('etcd', 'kube-apiserver'), timeout: 200_000 }, () => {
  let world: ClusterWorld;
  let router: ServeProcess;
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-timeouts-'));

  before(async () => {
    world = await clusterWorld({ skips: ({ metadata }) => metadata.name === 'stuck' });
    const config = join(directory, 'sandbox-router.yaml');
    writeFileSync(
      config,
      `timeouts: { responseHeader: 20s }
maxTableAge: 4s
tenants:
  default: { namespaces: '*', defaultNamespace: default, timeouts: { idleStream: 1s } }
`,
    );
    router = await world.anotherRouter(['--config', config]);
    await routerReady(router);
    const annotated = (name: string, timeouts: string) =>
      createReady(
        world.client,
        echoSandbox(name, { metadata: { annotations: { 'sandbox-router/timeouts': timeouts } } }),
      );
    await Promise.all([
      createReady(world.client, echoSandbox('plain')),
      annotated('hasty', 'responseHeader=500ms'),
      annotated('brief', 'request=1s,idleStream=never'),
      annotated('sockets', 'webSocketIdle=1500ms'),
      annotated('mortal', 'webSocketMaxAge=1500ms'),
      annotated('garbled', 'responseHeader=soon'),
    ]);
    await until('the last is routed', async () => (await get('/garbled/')).status === 200);
  });
  after(async () => {
    await router?.stop('SIGKILL');
    await world?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const headers = () => ({ authorization: `Bearer ${world.token}` });
  const get = (path: string, more: Record<string, string> = {}) =>
    rawRequest(router.url, { path, headers: { ...headers(), ...more } });
  const codeOf = ({ body }: { body: string }) => (JSON.parse(body) as { code: string }).code;
  const open = (name: string, options: WebSocket.ClientOptions = {}, protocols: string[] = []) =>
    new WebSocket(`${router.url.replace('http', 'ws')}/${name}/`, protocols, {
      ...options,
      headers: { ...headers(), ...(options.headers as Record<string, string>) },
    });

  it('a head that does not come in the time of its sandbox is a 504; without an annotation, or with one that can not be read, the router’s own holds', async () => {
    const answers = await Promise.all([get('/hasty/sleep/3000'), get('/plain/sleep/3000'), get('/garbled/sleep/3000')]);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [504, 200, 200],
    );
    assert.equal(codeOf(answers[0] as (typeof answers)[0]), 'upstream_timeout');
  });

  it('a stream that stands still for longer than its tenant allows is cut', async () => {
    const beganMs = performance.now();
    const answer = await get('/plain/hang').catch((error: Error) => error);
    assert.ok(answer instanceof Error || answer.status === 200);
    assert.ok(performance.now() - beganMs < 15_000);
  });

  it('a whole request is bounded where its sandbox says so: without an answer by a 504, in the middle of one by an end', async () => {
    const late = await get('/brief/sleep/5000');
    assert.equal(late.status, 504);
    assert.match(late.body, /longer than 1 s/);
    const beganMs = performance.now();
    await get('/brief/hang').catch(() => {});
    assert.ok(performance.now() - beganMs < 15_000);
  });

  it('sockets that are idle or old end with 1001, those that move stay', async () => {
    const [idle, busy, mortal] = [open('sockets'), open('sockets'), open('mortal')];
    await Promise.all([idle, busy, mortal].map((socket) => once(socket, 'open')));
    const chatter = setInterval(() => busy.send('still here'), 200);
    const ageChatter = setInterval(() => mortal.send('still here'), 200);
    try {
      const [[idleCode, idleReason], [oldCode, oldReason]] = (await Promise.all([
        once(idle, 'close'),
        once(mortal, 'close'),
      ])) as [[number, Buffer], [number, Buffer]];
      assert.deepEqual([idleCode, oldCode], [1001, 1001]);
      assert.match(String(idleReason), /nothing went through/);
      assert.match(String(oldReason), /as long as/);
      assert.equal(busy.readyState, WebSocket.OPEN);
    } finally {
      clearInterval(chatter);
      clearInterval(ageChatter);
      busy.terminate();
    }
  });

  it('a browser’s socket that can not wake its sandbox is closed with 1013 and the reason, other clients read the 503', async () => {
    await world.client.create(SANDBOXES, echoSandbox('stuck'));
    await until('the router knows it', async () => (await get('/-/v1/sandboxes/stuck')).status === 200);
    const patience = { 'x-sandbox-timeout': '1' };
    const browser = open('stuck', { headers: { ...patience, origin: router.url } }, ['chat', 'other']);
    const [code, reason] = (await once(browser, 'close')) as [number, Buffer];
    assert.equal(code, 1013);
    assert.match(String(reason), /waking/);
    const program = open('stuck', { headers: patience });
    program.on('error', () => {});
    const [, answer] = (await once(program, 'unexpected-response')) as [unknown, { statusCode: number }];
    assert.equal(answer.statusCode, 503);
    program.terminate();
  });

  it('a table that is older than it may be routes nothing until the API server is heard of again', async () => {
    await world.kube.stopApi();
    const refused = await until('requests are refused', async () => {
      const answer = await get('/plain/');
      return answer.status === 503 ? answer : undefined;
    });
    assert.equal(codeOf(refused), 'table_not_ready');
    assert.equal(
      (await rawRequest(world.url, { path: '/plain/', headers: headers() })).status,
      200,
      'who has no bound',
    );
    await world.kube.startApi();
    await until('it routes again', async () => (await get('/plain/')).status === 200, 60_000);
  });
});
