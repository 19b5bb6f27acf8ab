import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLines, type Line, type Sleep } from '../../../src/router/forward/lines.ts';
import { createRoutingTable, type PodRecord, type Route, type SandboxRecord } from '../../../src/router/table/index.ts';

const sandbox = (more: Partial<SandboxRecord> = {}, name = 'box'): SandboxRecord =>
  ({
    namespace: 'default',
    name,
    uid: `uid-${name}`,
    generation: 1,
    running: true,
    redials: false,
    ready: true,
    readyGeneration: 1,
    ...more,
  }) as SandboxRecord;

const pod = (uid: string, more: Partial<PodRecord> = {}, owner = 'box'): PodRecord =>
  ({
    namespace: 'default',
    name: owner,
    uid,
    sandboxUid: `uid-${owner}`,
    address: '10.0.0.1',
    ready: true,
    createdAtMs: 1000,
    checkpointed: false,
    resumes: '',
    restored: false,
    ownsAddress: false,
    ...more,
  }) as PodRecord;

/** A table with one running sandbox, and its lines. */
function world(limits = { sleepingPerSandbox: 10, sleepingTotal: 10 }, first: Partial<SandboxRecord> = {}) {
  const table = createRoutingTable();
  const lines = createLines(table, limits);
  table.upsertSandbox(sandbox(first));
  table.upsertPod(pod('one'));
  const route = table.find('default', 'box') as Route;
  return {
    table,
    lines,
    route,
    /** A line whose calls are written down. */
    line: (count = 1) => {
      const calls: string[] = [];
      const line: Line = {
        count: () => count,
        hush: () => calls.push('hush'),
        sleep: (how: Sleep) => calls.push(`sleep ${how}`) > 0,
        goOn: ({ uid }) => calls.push(`go on with ${uid}`),
        cut: () => calls.push('cut'),
      };
      const end = lines.add(line, route, route.pod as PodRecord);
      return { calls, end };
    },
    /** The sandbox is paused into a snapshot, as the engine tells of it. */
    pause: () => {
      table.upsertSandbox(sandbox({ ...first, running: false, generation: 2 }));
      table.upsertPod(pod('one', { ready: false, checkpointed: true }));
      table.deletePod('one');
    },
    wake: () => table.upsertSandbox(sandbox({ ...first, generation: 3, ready: false })),
  };
}

describe('connections to a sandbox', () => {
  it('are hushed when it is to be paused, sleep when its memory is kept, and go on with the pod that resumes it', () => {
    const { line, pause, wake, table, lines } = world();
    const { calls } = line();
    pause();
    assert.deepEqual(calls, ['hush', 'sleep kept']);
    assert.deepEqual([lines.sleeping(), lines.sleepingOf('default', 'box')], [1, 1]);
    wake();
    table.upsertPod(pod('two', { ready: false, resumes: '', address: '', createdAtMs: 2000 }));
    assert.equal(calls.length, 2, 'a pod that is being started says nothing yet');
    table.upsertPod(pod('two', { resumes: 'one', createdAtMs: 2000 }));
    assert.deepEqual(calls.slice(2), ['go on with two']);
    assert.equal(lines.sleeping(), 0);
  });

  it('go on when the pause is called off, once the sandbox itself says that it stays', () => {
    const { line, table } = world();
    const { calls } = line();
    table.upsertSandbox(sandbox({ running: false, generation: 2 }));
    table.upsertSandbox(sandbox({ running: true, generation: 3, ready: true, readyGeneration: 2 }));
    assert.deepEqual(calls, ['hush']);
    table.upsertSandbox(sandbox({ running: true, generation: 3, ready: true, readyGeneration: 3 }));
    assert.deepEqual(calls, ['hush', 'go on with one']);
  });

  it('sleep on through several pauses of which nobody used the time between', () => {
    const { line, pause, wake, table } = world();
    const { calls } = line();
    pause();
    wake();
    table.upsertPod(pod('two', { ready: false, resumes: 'one', createdAtMs: 2000 }));
    table.upsertSandbox(sandbox({ running: false, generation: 4 }));
    table.upsertPod(pod('two', { ready: false, resumes: 'one', checkpointed: true, createdAtMs: 2000 }));
    table.deletePod('two');
    wake();
    table.upsertPod(pod('three', { resumes: 'two', createdAtMs: 3000 }));
    assert.deepEqual(calls, ['hush', 'sleep kept', 'sleep kept', 'go on with three']);
  });

  for (const [what, next] of [
    ['starts cold', { resumes: '' }],
    ['goes on from another memory', { resumes: 'zero' }],
    ['goes on at another address', { resumes: 'one', address: '10.0.0.2' }],
  ] as const)
    it(`are cut when it ${what}`, () => {
      const { line, pause, wake, table, lines } = world();
      const { calls } = line();
      pause();
      wake();
      table.upsertPod(pod('two', { createdAtMs: 2000, ...next }));
      assert.deepEqual(calls, ['hush', 'sleep kept', 'cut']);
      assert.equal(lines.sleeping(), 0);
    });

  it('are cut when its pod goes without its memory being kept', () => {
    const { line, table } = world();
    const { calls } = line();
    table.deletePod('one');
    assert.deepEqual(calls, ['cut']);
  });

  it('are cut when the address becomes that of another sandbox, also while they sleep', () => {
    const { line, pause, table } = world();
    const { calls } = line();
    pause();
    table.upsertSandbox(sandbox({}, 'other'));
    table.upsertPod(pod('strange', {}, 'other'));
    assert.deepEqual(calls, ['hush', 'sleep kept', 'cut']);
  });

  it("are cut when the address becomes another sandbox's before its pod is gone, kept or not", () => {
    const { line, table } = world();
    const { calls } = line();
    table.upsertPod(pod('one', { ready: false, checkpointed: true }));
    table.upsertSandbox(sandbox({}, 'other'));
    table.upsertPod(pod('strange', { createdAtMs: 5000 }, 'other'));
    assert.deepEqual(calls, ['cut']);
  });

  it('are cut when it is deleted while they sleep', () => {
    const { line, pause, table, lines } = world();
    const { calls } = line();
    pause();
    table.deleteSandbox('default', 'box', 'uid-box');
    assert.deepEqual(calls, ['hush', 'sleep kept', 'cut']);
    assert.equal(lines.sleeping(), 0);
  });

  it('that are made to a pod which is gone are cut at once, and those to one that is being paused are hushed', () => {
    const { lines, route, table, line } = world();
    const gone = pod('gone');
    const calls: string[] = [];
    lines.add({ count: () => 1, hush() {}, sleep: () => true, goOn() {}, cut: () => calls.push('cut') }, route, gone);
    assert.deepEqual(calls, ['cut']);
    table.upsertSandbox(sandbox({ running: false, generation: 2 }));
    assert.deepEqual(line().calls, ['hush']);
  });

  it('sleep in bounded number: those beyond it are cut', () => {
    const few = world({ sleepingPerSandbox: 3, sleepingTotal: 10 });
    const [pool, last] = [few.line(3), few.line()];
    few.pause();
    assert.deepEqual([pool.calls.at(-1), last.calls.at(-1)], ['sleep kept', 'cut']);
    const total = world({ sleepingPerSandbox: 10, sleepingTotal: 1 });
    const both = [total.line(), total.line()];
    total.pause();
    assert.deepEqual(
      both.map(({ calls }) => calls.at(-1)),
      ['sleep kept', 'cut'],
    );
  });

  it('that ended are followed no more', () => {
    const { line, pause, lines } = world();
    const { calls, end } = line();
    end();
    pause();
    assert.deepEqual([calls, lines.sleeping()], [[], 0]);
  });
});

describe('connections to a sandbox that is to be dialled again', () => {
  const redials = { redials: true };

  it('sleep without their pod, and go on with one that has the same memory', () => {
    const { line, table } = world(undefined, redials);
    const { calls } = line();
    table.upsertSandbox(sandbox({ ...redials, running: false, generation: 2 }));
    table.deletePod('one');
    table.upsertSandbox(sandbox({ ...redials, generation: 3, ready: false }));
    table.upsertPod(pod('two', { address: '10.0.0.9', restored: true, createdAtMs: 2000 }));
    assert.deepEqual(calls, ['hush', 'sleep redial', 'go on with two']);
  });

  it('are cut when the wake is a cold start, or nobody paused it', () => {
    const cold = world(undefined, redials);
    const first = cold.line();
    cold.table.upsertSandbox(sandbox({ ...redials, running: false, generation: 2 }));
    cold.table.deletePod('one');
    cold.table.upsertSandbox(sandbox({ ...redials, generation: 3, ready: false }));
    cold.table.upsertPod(pod('two', { address: '10.0.0.9', createdAtMs: 2000 }));
    assert.deepEqual(first.calls, ['hush', 'sleep redial', 'cut']);
    const lost = world(undefined, redials);
    const second = lost.line();
    lost.table.deletePod('one');
    assert.deepEqual(second.calls, ['cut']);
  });
});
