import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ApiError,
  isApiError,
  type KubernetesObject,
  LEDGER_ANNOTATION,
  type ResourceClient,
} from '../../../src/kubernetes/index.ts';
import { statusOf } from '../../../src/kubernetes/status.ts';
import { type LedgerFact, pathOf } from '../../../src/router/ledger/entry.ts';
import { createLedger, createUses, type EventObject, entryOf } from '../../../src/router/ledger/index.ts';
import type { Route } from '../../../src/router/table/index.ts';
import { until } from '../../support/until.ts';

const BOX = { namespace: 'default', name: 'box', uid: 'uid-box' };
const refused = (credential: string, path = '/'): LedgerFact => ({
  type: 'refused',
  cause: { via: 'request', credential, method: 'GET', path },
  code: 'wake_disabled',
  detail: 'box is paused',
});
const woken = (path: string): LedgerFact => ({
  type: 'woken',
  cause: { via: 'request', credential: 'alice', method: 'GET', path, intent: 'use' },
  durationMs: 100,
});

/** A ledger over Events that are kept here, with clocks that are set by hand. */
function world(answer: () => unknown = () => undefined) {
  const events = new Map<string, EventObject>();
  const clock = { nowMs: 1_000_000_000_000 };
  const failures: string[] = [];
  let writes = 0;
  const act = <T>(change: () => T): Promise<T> => {
    writes++;
    const error = answer();
    // Without an answer it may have been done: here it always is.
    const done = error === undefined || isApiError(error, 'Unreachable') ? change() : undefined;
    return error === undefined ? Promise.resolve(done as T) : Promise.reject(error);
  };
  const client = {
    create: <T extends KubernetesObject>(_: unknown, object: T) =>
      act(() => {
        events.set(object.metadata.name, object as unknown as EventObject);
        return object;
      }),
    patch: (_: unknown, { name }: { name: string }, patch: { metadata: object }) =>
      act(() => {
        const before = events.get(name) as EventObject;
        events.set(name, { ...before, ...patch, metadata: { ...before.metadata, ...patch.metadata } });
        return before;
      }),
  } as unknown as ResourceClient;
  const ledger = createLedger({
    client,
    reporter: 'router-1',
    failed: (what, error) => failures.push(`${what}: ${(error as Error).message}`),
    now: () => clock.nowMs,
    clockMs: () => clock.nowMs,
  });
  const settled = () => until('all is written', () => ledger.pendingCount() === 0);
  const entries = () => [...events.values()].map(entryOf);
  return { ledger, clock, events, entries, settled, failures, writes: () => writes };
}

describe('the ledger', () => {
  it('writes each fact as an Event that people and programs can read', async () => {
    const { ledger, events, entries, settled } = world();
    ledger.record(BOX, { ...woken('/api'), phasesMs: { restore: 80 } });
    await settled();
    const [event] = [...events.values()];
    assert.equal(event?.reason, 'Woken');
    assert.equal(event?.message, 'Woken by alice: GET /api in 100 ms');
    assert.deepEqual(event?.involvedObject, {
      apiVersion: 'agents.x-k8s.io/v1beta1',
      kind: 'Sandbox',
      ...BOX,
    });
    const { id, ...entry } = entries()[0] ?? { id: '' };
    assert.match(id, /^box\.[0-9a-f]{16}$/);
    assert.deepEqual(entry, {
      ...woken('/api'),
      summary: event?.message,
      phasesMs: { restore: 80 },
      firstAt: '2001-09-09T01:46:40.000Z',
      lastAt: '2001-09-09T01:46:40.000Z',
      count: 1,
      reporter: 'router-1',
    });
  });

  it('writes what came last when it ends, whatever the rate', async () => {
    const { ledger, entries, settled } = world();
    for (let turn = 0; turn < 20; turn++) {
      ledger.record(BOX, woken(`/${turn}`));
      await settled();
    }
    ledger.record(BOX, woken('/last'));
    const paths = () => entries().map(({ cause }) => cause?.path);
    assert.equal(paths().includes('/last'), false, 'the sandbox has written its share');
    await ledger.close();
    assert.equal(paths().includes('/last'), true);
  });

  it('counts refusals of one caller for one reason as one, whatever their paths', async () => {
    const { ledger, entries, settled, writes } = world();
    for (let turn = 0; turn < 1000; turn++) ledger.record(BOX, refused('mallory', `/secret-${turn}`));
    ledger.record(BOX, refused('bob'));
    await settled();
    assert.deepEqual(
      entries().map(({ cause, count }) => [cause?.credential, count]),
      [
        ['mallory', 1000],
        ['bob', 1],
      ],
    );
    assert.ok(writes() < 10, `${writes()} writes`);
  });

  it('writes no more than 200 Events an hour of one sandbox, and yet counts what is the same', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { ledger, clock, events } = world();
    for (let second = 0; second < 3600; second++) {
      for (let turn = 0; turn < 5; turn++) ledger.record(BOX, woken(`/${second % 7}`));
      clock.nowMs += 1000;
      t.mock.timers.tick(1000);
      await new Promise(setImmediate);
    }
    assert.ok(events.size <= 200, `${events.size} Events`);
    assert.ok(events.size > 100);
    const counted = [...events.values()].reduce((sum, { count = 0 }) => sum + count, 0);
    assert.ok(counted > 15_000, `${counted} of 18000 are counted, the rest wait`);
  });

  it('adds to a fact what becomes known later', async () => {
    const { ledger, entries, settled } = world();
    const amend = ledger.record(BOX, { type: 'paused', cause: { via: 'api', credential: 'alice', rule: 'pause' } });
    await settled();
    amend({ durationMs: 250 });
    await settled();
    assert.equal(entries().length, 1);
    assert.equal(entries()[0]?.durationMs, 250);
    assert.equal(entries()[0]?.count, 1);
  });

  it('tries again while the API does not answer, and never writes twice what was written after all', async () => {
    let answers = 0;
    const away = new ApiError({ ...statusOf(503, '', ''), reason: 'Unreachable', message: 'no answer' });
    const there = new ApiError(statusOf(409, '{"kind":"Status","reason":"AlreadyExists"}', ''));
    const { ledger, events, writes, failures } = world(() => [away, there][answers++]);
    ledger.record(BOX, woken('/'));
    await until('it was tried again', () => writes() === 3);
    assert.equal(events.size, 1);
    assert.deepEqual(failures, []);
  });

  it('drops what is refused, and says so once', async () => {
    const { ledger, settled, failures } = world(() => new ApiError(statusOf(403, '', 'POST /events')));
    ledger.record(BOX, woken('/a'));
    await settled();
    ledger.record(BOX, woken('/b'));
    await settled();
    assert.equal(failures.length, 1);
  });

  it('keeps no query, and nothing that would write on a terminal', () => {
    assert.equal(pathOf('/path?token=secret#more'), '/path');
    assert.equal(pathOf('/\u001b[31mred\n'), '/?[31mred?');
    assert.equal(pathOf(`/${'x'.repeat(1000)}`).length, 200);
  });

  it('takes nothing in an Event for granted', () => {
    const event = (annotation: string, component = 'sandbox-router') =>
      ({
        metadata: {
          name: 'e',
          creationTimestamp: '2026-01-01T00:00:00Z',
          annotations: { [LEDGER_ANNOTATION]: annotation },
        },
        source: { component },
        reason: 'Other',
        message: 'said\nso',
      }) as unknown as EventObject;
    for (const annotation of [
      '',
      '{',
      'null',
      '[]',
      '{"type":"woken"}',
      '{"type":"owned","firstMs":1}',
      '{"type":"woken","firstMs":1e300}',
    ])
      assert.deepEqual(
        { type: entryOf(event(annotation)).type, detail: entryOf(event(annotation)).detail },
        { type: 'reported', detail: 'said?so' },
      );
    const forged = entryOf(
      event(
        '{"type":"woken","firstMs":1000,"cause":{"path":7,"credential":"a\\u001b"},"sources":[1,{"source":"x","seconds":"y"}]}',
      ),
    );
    assert.deepEqual(forged.cause, { credential: 'a?' });
    assert.deepEqual(forged.sources, [
      { source: '', seconds: 0 },
      { source: 'x', seconds: 0 },
    ]);
    assert.equal(entryOf(event('{"type":"woken","firstMs":1000}', 'somebody-else')).type, 'reported');
  });
});

describe('what keeps a sandbox awake', () => {
  const route = { sandbox: BOX } as unknown as Route;
  const use = (path: string) => ({ via: 'request', credential: 'alice', method: 'GET', path }) as const;

  it('is told as the sources that were first to use it in most seconds', async () => {
    const { ledger, clock, entries, settled } = world();
    const uses = createUses(
      ledger,
      () => true,
      1000,
      () => clock.nowMs,
    );
    for (let second = 0; second < 40; second++) {
      uses.saw(route, use(second % 4 === 0 ? `/one-off-${second}` : '/poll'));
      clock.nowMs += 1000;
    }
    uses.settle();
    await settled();
    const [entry] = entries();
    assert.equal(entry?.type, 'kept_awake');
    assert.deepEqual(entry?.sources?.[0], { source: 'alice: GET /poll', seconds: 30 });
    assert.equal(entry?.sources?.length, 3);
  });

  it('is counted only where a sandbox would be paused otherwise', () => {
    const { ledger, clock } = world();
    const uses = createUses(
      ledger,
      () => false,
      1000,
      () => clock.nowMs,
    );
    uses.saw(route, use('/'));
    clock.nowMs += 60_000;
    uses.settle();
    assert.equal(ledger.pendingCount(), 0);
  });
});
