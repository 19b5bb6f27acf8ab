import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { podStatus } from '../../../src/engine/controllers/pod/status.ts';
import { ApiError, type Pod } from '../../../src/kubernetes/index.ts';
import { statusOf } from '../../../src/kubernetes/status.ts';
import type { SandboxWriter } from '../../../src/router/sandbox-writer.ts';
import { createRoutingTable, type Route, type SandboxRecord } from '../../../src/router/table/index.ts';
import { createWaker, isLeaving, keepRunningWhileUsed, pauseInTwoPhases } from '../../../src/router/wake/index.ts';
import { podRecord, sandboxRecord } from '../../support/route-records.ts';
import { until } from '../../support/until.ts';

/** A running sandbox `a`, and an API whose answers are given by hand. */
function world() {
  const table = createRoutingTable();
  const calls: { what: string; answer(generation: number): void; refuse(error: unknown): void }[] = [];
  const call = (what: string) =>
    new Promise<number>((resolve, reject) => calls.push({ what, answer: resolve, refuse: reject }));
  const writer: SandboxWriter = {
    setRunning: (_key, running) => call(running ? 'run' : 'pause'),
    announcePause: async (_key, _fence, announcement) => {
      await call('announce');
      record({ draining: announcement });
    },
    annotate: async () => void (await call('take back')),
  };
  let latest = sandboxRecord('a');
  const record = (more: Partial<SandboxRecord>) => {
    latest = { ...latest, ...more };
    table.upsertSandbox(latest);
  };
  record({});
  table.upsertPod(podRecord('a', 'p1', '10.0.0.1'));
  const waker = createWaker({
    table,
    writer,
    limits: { holdTimeoutMs: 5000, heldPerSandbox: 9, heldTotal: 9, heldBytes: 1 << 20, concurrentWakes: 4 },
    finished: () => {},
    accepts: async () => true,
  });
  after(waker.close);
  const route = table.find('default', 'a') as Route;
  const pause = (drainMs = 0) =>
    pauseInTwoPhases(route, { writer, drainMs, inFlightMs: 5000, fenced: false, stillWanted: async () => true });
  const ask = async () => {
    const joined = waker.join({ route, port: 8888, mayWake: true });
    assert.ok('wake' in joined);
    return await waker.hold(joined.wake, {
      port: 8888,
      timeoutMs: 5000,
      bytes: 1,
      signal: new AbortController().signal,
    });
  };
  const called = (what: string) => until(`${what} was asked for`, () => calls.find((each) => each.what === what));
  return { table, writer, route, record, calls, called, pause, ask };
}

describe('a pause in two phases', () => {
  it('is called off by a request before the API is asked, and the request goes on at once', async () => {
    const { route, pause, ask, calls } = world();
    route.activity.inFlight = 1;
    const pausing = pause();
    assert.ok(isLeaving(route, 'use'));
    assert.ok(!isLeaving(route, 'head'), 'quiet ones call nothing off');
    assert.ok('pod' in (await ask()));
    assert.deepEqual(await pausing, { paused: false, detail: 'a request came while it was about to be paused' });
    assert.deepEqual(calls, []);
  });

  it('holds a request while the API is asked, and wakes for it what was paused', async () => {
    const { pause, ask, called, record, calls } = world();
    const pausing = pause();
    const asked = await called('pause');
    const answer = ask();
    asked.answer(2);
    (await called('run')).answer(3);
    record({ running: true, generation: 3, readyGeneration: 3 });
    assert.ok((await pausing).paused);
    assert.ok('pod' in (await answer));
    assert.deepEqual(
      calls.map(({ what }) => what),
      ['pause', 'run'],
    );
  });

  it('never comes after the wake of a request that heard of another pause first', async () => {
    const { pause, ask, called, record, calls } = world();
    const pausing = pause();
    const asked = await called('pause');
    // Somebody else was faster.
    record({ running: false, generation: 2, ready: false });
    const answer = ask();
    await new Promise(setImmediate);
    assert.equal(calls.length, 1, 'the wake waits for our own pause');
    asked.answer(2);
    (await called('run')).answer(3);
    record({ running: true, generation: 3, readyGeneration: 3, ready: true });
    assert.ok('pod' in (await answer));
    await pausing;
  });

  it('lets nobody into the pod who was on the way when it was decided', async () => {
    const { pause, ask, called, record, calls } = world();
    record({ running: false, generation: 2, ready: false });
    const answer = ask();
    const woken = await called('run');
    record({ running: true, generation: 3, ready: false });
    const pausing = pause();
    const asked = await called('pause');
    woken.answer(3);
    record({ generation: 3, readyGeneration: 3, ready: true });
    await new Promise(setImmediate);
    asked.answer(4);
    await until('it is woken again', () => calls.length === 3);
    calls[2]?.answer(5);
    record({ generation: 5, readyGeneration: 5 });
    assert.ok('pod' in (await answer));
    await pausing;
  });

  it('is woken once more for those who wait when somebody pauses it again', async () => {
    const { ask, called, record, calls } = world();
    record({ running: false, generation: 2, ready: false });
    const answer = ask();
    (await called('run')).answer(3);
    record({ running: false, generation: 4 });
    await until('it was asked again', () => calls.length === 2);
    calls[1]?.answer(5);
    record({ running: true, generation: 5, readyGeneration: 5, ready: true });
    assert.ok('pod' in (await answer));
  });

  it('is called off by requests under way when others ask for it, also while our own waits for them', async () => {
    const { table, writer, route, record, pause, called } = world();
    after(keepRunningWhileUsed({ table, writer, calledOff: () => {}, failed: () => {} }));
    route.activity.inFlight = 1;
    const pausing = pause();
    record({ running: false, generation: 2, ready: false });
    (await called('run')).answer(3);
    record({ running: true, generation: 3, ready: true });
    route.activity.inFlight = 0;
    (await called('pause')).answer(4);
    record({ running: false, generation: 4 });
    assert.ok((await pausing).paused);
  });

  it('that could not be called off in time is followed by a wake for the requests that sleep in it, however long the API is away', async () => {
    const { table, writer, route, record, calls } = world();
    const failures: string[] = [];
    after(keepRunningWhileUsed({ table, writer, calledOff: () => {}, failed: (what) => void failures.push(what) }));
    route.activity.inFlight = 1;
    record({ running: false, generation: 2, ready: false });
    const unreachable = () =>
      new ApiError({ ...statusOf(503, '', ''), reason: 'Unreachable', message: 'no answer from the API server' });
    calls[0]?.refuse(unreachable());
    await until('it was asked again', () => calls.length === 2);
    record({ suspended: true });
    calls[1]?.refuse(unreachable());
    await until('it was asked once more', () => calls.length === 3);
    calls[2]?.answer(3);
    record({ running: true, generation: 3, suspended: false });
    assert.deepEqual(failures, ['keeping default/a awake for requests under way']);
    assert.equal(calls.length, 3);
  });

  it('is told from that of another router by its announcement', async () => {
    const { table, writer, route, record, pause, called } = world();
    after(keepRunningWhileUsed({ table, writer, calledOff: () => {}, failed: () => {} }));
    route.activity.inFlight = 1;
    const pausing = pause(20);
    (await called('announce')).answer(0);
    await until('it is announced', () => route.sandbox.draining !== '');
    record({ draining: 'another router' });
    (await called('run')).answer(1);
    route.activity.inFlight = 0;
    (await called('take back')).answer(0);
    assert.deepEqual(await pausing, { paused: false, detail: 'it is used elsewhere' });
  });
});

describe('a Pod whose checkpoint is being taken', () => {
  it('is not Ready, so that nobody sends it what its snapshot would not have', () => {
    const pod = { metadata: { name: 'a' }, spec: { containers: [{ name: 'c', image: 'i' }] } } as unknown as Pod;
    const status = (checkpoint?: 'Unknown' | 'False') =>
      podStatus(
        {
          pod,
          containers: [
            {
              container: { name: 'c', image: 'i' },
              phase: { phase: 'running', ready: true },
              restartCount: 0,
              started: true,
            },
          ],
          initContainers: [],
          ...(checkpoint && { checkpoint: { status: checkpoint, message: '' } }),
        },
        new Date(),
      );
    const readyOf = (checkpoint?: 'Unknown' | 'False') =>
      status(checkpoint)?.conditions?.find(({ type }) => type === 'Ready')?.status;
    assert.deepEqual([readyOf(), readyOf('Unknown'), readyOf('False')], ['True', 'False', 'True']);
  });
});
