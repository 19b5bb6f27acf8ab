import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { EVENTS, NAMESPACES, SANDBOXES } from '../../src/kubernetes/index.ts';
import type { LedgerEntry } from '../../src/router/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, conditionOf, createReady, echoSandbox, routerReady } from './world.ts';

const execute = promisify(execFile);
const FLAGS = ['--lease-namespace', 'default', '--activity-interval', '1s', '--shutdown-delay', '0s'];

describe('the ledger of a sandbox, on a real API server', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 200_000,
}, () => {
  let world: ClusterWorld;
  let router: ServeProcess;

  before(async () => {
    world = await clusterWorld({ startMs: 200 });
    router = await world.anotherRouter([...FLAGS, '--pod-snapshots', 'off']);
    await routerReady(router);
    await world.client.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'tenant-a' } });
    await createReady(
      world.client,
      echoSandbox('box', { namespace: 'tenant-a', metadata: { annotations: { 'sandbox-router/wake-on': 'monitor' } } }),
    );
  });
  after(async () => {
    await router?.stop('SIGKILL');
    await world?.close();
  });

  const request = (
    path: string,
    { token = world.tenantTokens.a, url = router.url, headers = {}, method = 'GET' } = {},
  ) => rawRequest(url, { path, method, headers: { authorization: `Bearer ${token}`, ...headers } });
  async function ledger(url = router.url, token = world.tenantTokens.a): Promise<LedgerEntry[]> {
    const answer = await fetch(`${url}/-/v1/sandboxes/box/events`, { headers: { authorization: `Bearer ${token}` } });
    const body = (await answer.json()) as { items: LedgerEntry[]; code?: string };
    assert.equal(answer.status, 200, JSON.stringify(body));
    return body.items;
  }
  const written = (what: string, wanted: (entry: LedgerEntry) => boolean) =>
    until(what, async () => (await ledger()).find(wanted));
  const isPaused = () => conditionOf(world.client, { namespace: 'tenant-a', name: 'box' }, 'Suspended');

  it('says who paused it, who was refused and why, and who woke it, without a query', async () => {
    assert.equal((await request('/-/v1/sandboxes/box/pause', { method: 'POST' })).status, 202);
    await isPaused();
    await until('the router knows', async () => (await request('/box/', { method: 'HEAD' })).status === 409);
    assert.equal((await request('/box/deep/path?token=swordfish')).status, 200);
    const paused = await written(
      'the pause, with its duration',
      ({ type, durationMs }) => type === 'paused' && durationMs !== undefined,
    );
    assert.deepEqual(paused.cause, { via: 'api', credential: 'a', rule: 'pause' });
    const refused = await written('the refusal', ({ type }) => type === 'refused');
    assert.deepEqual([refused.code, refused.cause?.intent, refused.cause?.method], ['wake_disabled', 'head', 'HEAD']);
    assert.match(refused.detail ?? '', /does not wake it/);
    const woken = await written('the wake', ({ type }) => type === 'woken');
    assert.deepEqual(woken.cause, {
      via: 'request',
      credential: 'a',
      method: 'GET',
      path: '/deep/path',
      intent: 'use',
    });
    assert.ok((woken.durationMs ?? 0) > 100, `${woken.durationMs} ms`);
    assert.deepEqual(Object.keys(woken.phasesMs ?? {}), ['queue', 'schedule', 'restore', 'ready', 'connect']);
    const everything = JSON.stringify(await world.client.list(EVENTS, { namespace: 'tenant-a' }));
    assert.doesNotMatch(everything, /swordfish/);
    for (const token of Object.values(world.tenantTokens)) assert.ok(!everything.includes(token));
  });

  it('is the same for every replica, after a restart too, and another tenant sees nothing of it', async () => {
    const types = (entries: LedgerEntry[]) => entries.map(({ id, type }) => `${id} ${type}`);
    const here = types(await ledger());
    assert.deepEqual(types(await ledger(world.url)), here);
    await router.stop();
    router = await world.anotherRouter([...FLAGS, '--pod-snapshots', 'off']);
    await routerReady(router);
    assert.deepEqual(types(await ledger()), here);
    const theirs = await request('/-/v1/sandboxes/box.tenant-a/events', { token: world.tenantTokens.b });
    assert.ok(theirs.status === 400 || theirs.status === 404);
    const foreign = await request('/-/v1/sandboxes/box/events?namespace=tenant-a', { token: world.tenantTokens.b });
    assert.equal(foreign.status, 404);
  });

  it('streams what is there and what comes about, and goes on where one was', async () => {
    const listen = async (lastEventId?: string) => {
      const closing = new AbortController();
      const answer = await fetch(`${router.url}/-/v1/sandboxes/box/events`, {
        headers: {
          authorization: `Bearer ${world.tenantTokens.a}`,
          accept: 'text/event-stream',
          ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
        },
        signal: closing.signal,
      });
      assert.equal(answer.headers.get('content-type'), 'text/event-stream');
      const heard = { text: '' };
      (async () => {
        for await (const chunk of answer.body ?? []) heard.text += Buffer.from(chunk as Uint8Array).toString();
      })().catch(() => {});
      return { heard, close: () => closing.abort() };
    };
    const first = await listen();
    await until('what was', () => /event: woken/.test(first.heard.text) && /event: paused/.test(first.heard.text));
    const lastId = [...first.heard.text.matchAll(/^id: (.*)$/gm)].at(-1)?.[1];
    await request('/-/v1/sandboxes/box/pause', { method: 'POST' });
    await until('what comes', () => first.heard.text.split('event: paused').length > 2);
    const second = await listen(lastId);
    await until('what was missed', () => /event: paused/.test(second.heard.text));
    assert.doesNotMatch(second.heard.text, /event: woken/);
    await isPaused();
    first.close();
    second.close();
  });

  it('says by which rule it was paused, and who used it last', async () => {
    assert.equal((await request('/box/last')).status, 200);
    await world.client.patch(
      SANDBOXES,
      { namespace: 'tenant-a', name: 'box' },
      { metadata: { annotations: { 'sandbox-router/idle-timeout': '2s' } } },
      { type: 'merge' },
    );
    const paused = await written('the idle pause', ({ type, cause }) => type === 'paused' && cause?.via === 'rule');
    assert.match(paused.cause?.rule ?? '', /unused for 2 s/);
    assert.match(paused.detail ?? '', /last used by a: GET \/last, \d+ s before/);
  });

  it('is printed by "why", as a table and as JSON', async () => {
    const why = async (...more: string[]) =>
      (
        await execute(process.execPath, [
          join(projectRoot, 'src/cli/main.ts'),
          ...['why', 'box', '-n', 'tenant-a', '--kubeconfig', world.kube.kubeconfigPath, ...more],
        ])
      ).stdout;
    const table = await why();
    assert.match(table, /^box is to be Suspended/);
    assert.match(table, /^idle timeout +2s$/m);
    assert.match(table, /^WHEN +WHAT +COUNT +TOOK +BY +WHY$/m);
    assert.match(table, /woken +1 +[\d.]+ m?s +a: GET \/deep\/path$/m);
    assert.match(table, /paused +1 +[\d.]+ m?s +a: pause$/m);
    const parsed = JSON.parse(await why('--json')) as { now: { mode: string }; events: LedgerEntry[] };
    assert.equal(parsed.now.mode, 'Suspended');
    assert.deepEqual(parsed.events, await ledger());
    await assert.rejects(why('--namespace', 'default'), /not found/);
  });
});
