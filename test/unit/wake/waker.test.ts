import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, describe, it } from 'node:test';
import { ApiError } from '../../../src/kubernetes/index.ts';
import { statusOf } from '../../../src/kubernetes/status.ts';
import {
  createRoutingTable,
  type Route,
  type RoutingTable,
  type SandboxRecord,
} from '../../../src/router/table/index.ts';
import { createWaker, type WakeResult, type Waker } from '../../../src/router/wake/index.ts';
import { podRecord, sandboxRecord } from '../../support/route-records.ts';
import { until } from '../../support/until.ts';

const LIMITS = { holdTimeoutMs: 20_000, heldPerSandbox: 100, heldTotal: 100, heldBytes: 1 << 20, concurrentWakes: 4 };
const unreachable = () =>
  new ApiError({ ...statusOf(503, '', ''), reason: 'Unreachable', message: 'no answer from the API server' });

/** A sandbox `a` in a table of its own, and a waker over it whose API is `setRunning`. */
function world(more: Partial<SandboxRecord>, setRunning: () => Promise<number>) {
  const table = createRoutingTable();
  const results: string[] = [];
  const waker = createWaker({
    table,
    limits: LIMITS,
    writer: { setRunning, announcePause: async () => {}, annotate: async () => {} },
    finished: (result) => results.push(result),
  });
  const record = (changed: Partial<SandboxRecord> = {}) => sandboxRecord('a', { ...more, ...changed });
  table.upsertSandbox(record());
  return { table, waker, results, record };
}

function addPod(table: RoutingTable, uid = 'p1'): void {
  table.upsertPod(podRecord('a', uid, '127.0.0.1'));
}

async function ask(waker: Waker, table: RoutingTable, port: number, callerTimeoutMs?: number): Promise<WakeResult> {
  const route = table.find('default', 'a') as Route;
  const joined = waker.join({ route, port, mayWake: true });
  if ('problem' in joined) return joined;
  const timeoutMs = waker.longestHoldMs(callerTimeoutMs, { respondAsync: false, waitMs: undefined });
  return await waker.hold(joined.wake, { port, timeoutMs, bytes: 1000, signal: new AbortController().signal });
}

/** A loopback port; while `open` is false nothing listens there. */
async function listener() {
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  let connections = 0;
  const listen = async (port: number) => {
    await once(server.listen(port, '127.0.0.1'), 'listening');
    return (server.address() as { port: number }).port;
  };
  const port = await listen(0);
  const close = async () => {
    const closed = once(server, 'close');
    server.close();
    await closed;
  };
  return { port, close, open: () => listen(port), connections: () => connections };
}

describe('a wake of a sandbox that is paused again before it is ready', () => {
  for (const [who, leaves, wanted] of [
    ['is asked for again for who still waits', false, 2],
    ['is asked for by nobody once who waited is gone, or has what he wanted', true, 1],
  ] as const)
    it(who, async () => {
      let asked = 0;
      const { table, waker, record } = world({ running: false, ready: false }, async () => ++asked * 2);
      after(waker.close);
      const joined = waker.join({ route: table.find('default', 'a') as Route, port: 1, mayWake: true });
      assert.ok('wake' in joined);
      const caller = new AbortController();
      const answer = waker.hold(joined.wake, { port: 1, timeoutMs: 20_000, bytes: 0, signal: caller.signal });
      await until('it was asked', () => asked === 1);
      table.upsertSandbox(record({ running: true, generation: 2 }));
      if (leaves) {
        caller.abort();
        await answer;
      }
      table.upsertSandbox(record({ running: false, generation: 3 }));
      if (leaves) await joined.wake.ended;
      else await until('it was asked again', () => asked === 2);
      assert.equal(asked, wanted);
      caller.abort();
    });
});

describe('a wake while the API server does not answer', () => {
  it('is asked for again until it does, and the held request goes on', async () => {
    const { port, close } = await listener();
    after(close);
    let asked = 0;
    const { table, waker, record, results } = world({ running: false, ready: false }, async () => {
      if (++asked < 4) throw unreachable();
      return 2;
    });
    after(waker.close);
    const answers = Promise.all([1, 2, 3].map(() => ask(waker, table, port)));
    await until('it was asked', () => asked === 4);
    table.upsertSandbox(record({ running: true, generation: 2, readyGeneration: 2, ready: true }));
    addPod(table);
    for (const answer of await answers) assert.ok('pod' in answer, JSON.stringify(answer));
    assert.equal(asked, 4, 'three requests, one wake');
    assert.deepEqual(results, ['ok']);
  });

  it('says so when the time of the caller is up, asks no more, and is no failure of the sandbox', async () => {
    let asked = 0;
    const { table, waker } = world({ running: false, ready: false }, async () => {
      asked++;
      throw unreachable();
    });
    after(waker.close);
    for (let turn = 0; turn < 4; turn++) {
      const before = asked;
      const answer = await ask(waker, table, 1, 400);
      assert.ok('problem' in answer);
      assert.equal(answer.problem.code, 'waking');
      assert.equal(answer.problem.detail, 'a can not be woken yet: the API server does not answer.');
      assert.ok(asked > before, 'no breaker is in the way of the next');
    }
  });

  it('that is refused is asked for once, and after three refusals not at all for a while', async () => {
    let asked = 0;
    const { table, waker } = world({ running: false, ready: false }, async () => {
      asked++;
      throw new ApiError(statusOf(500, '{"kind":"Status","message":"failed calling webhook"}', 'PATCH'));
    });
    after(waker.close);
    for (let turn = 0; turn < 5; turn++) {
      const answer = await ask(waker, table, 1);
      assert.ok('problem' in answer);
      assert.equal(answer.problem.code, 'wake_failed');
      assert.match(answer.problem.detail, /failed calling webhook/);
      assert.ok((answer.problem.retryAfterSeconds ?? 0) > 0);
    }
    assert.equal(asked, 3);
  });
});

describe('a pod that refuses connections', () => {
  it('is tried by one for all who ask, and then by nobody for a moment', async () => {
    const { port, close } = await listener();
    await close();
    const { table, waker } = world({}, async () => assert.fail('nothing is to be woken'));
    after(waker.close);
    addPod(table);
    table.suspect('p1', port, 0);
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(waker, table, port)));
    for (const answer of answers) assert.ok('problem' in answer && answer.problem.code === 'upstream_refused');
    const quietUntilMs = table.findPod('p1')?.suspectPorts?.get(port) ?? 0;
    assert.ok(quietUntilMs > 0);
    const beganMs = performance.now();
    const next = await ask(waker, table, port);
    assert.ok('problem' in next && next.problem.code === 'upstream_refused');
    if (beganMs < quietUntilMs - 500)
      assert.ok((next.problem.retryAfterSeconds ?? 0) > 0, 'it was told when to come again');
  });

  it('is trusted again as soon as it accepts, also where its sandbox is not Ready', async () => {
    const { port, close, open, connections } = await listener();
    await close();
    const { table, waker } = world({ ready: false, readyGeneration: 0 }, async () =>
      assert.fail('nothing is to be woken'),
    );
    after(waker.close);
    addPod(table);
    table.suspect('p1', port, 0);
    const answers = Promise.all(Array.from({ length: 20 }, () => ask(waker, table, port)));
    await open();
    after(close);
    for (const answer of await answers) assert.ok('pod' in answer, JSON.stringify(answer));
    assert.equal(connections(), 1, 'one tried for all');
    assert.equal(table.suspectCount(), 0);
  });

  it('is given up when another pod takes its place', async () => {
    const { port, close, open } = await listener();
    await close();
    const { table, waker } = world({}, async () => assert.fail('nothing is to be woken'));
    after(waker.close);
    addPod(table);
    table.suspect('p1', port, 0);
    const answer = ask(waker, table, port);
    table.deletePod('p1');
    await open();
    after(close);
    addPod(table, 'p2');
    const found = await answer;
    assert.ok('pod' in found && found.pod.uid === 'p2', JSON.stringify(found));
  });
});

describe('a sandbox that runs, and whose pod is not Ready yet', () => {
  for (const [when, isThere] of [
    ['there is none yet', false],
    ['it is starting', true],
  ] as const)
    it(`is as near for who waits as for who comes when the pod is Ready, whatever the Sandbox says of itself: ${when}`, async () => {
      const { port, close } = await listener();
      after(close);
      const { table, waker } = world({ ready: false, readyGeneration: 0 }, async () =>
        assert.fail('nothing is to be woken'),
      );
      after(waker.close);
      if (isThere) table.upsertPod(podRecord('a', 'p1', '127.0.0.1', { ready: false }));
      const answer = ask(waker, table, port);
      await until('it is held', () => waker.heldCount() === 1);
      addPod(table);
      const found = await answer;
      assert.ok('pod' in found && found.pod.uid === 'p1', JSON.stringify(found));
    });
});
