import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Route } from '../../../src/router/table/index.ts';
import { createActivityTracker } from '../../../src/router/wake/idle/activity.ts';
import { type IdleFacts, judgeIdle } from '../../../src/router/wake/idle/verdict.ts';

describe('a sandbox with an idle timeout of 10 s, seen at second 100', () => {
  const facts: IdleFacts = {
    nowMs: 100_000,
    idleTimeoutMs: 10_000,
    running: true,
    inFlight: 0,
    seenMs: 0,
    reportedMs: 0,
    startedMs: 1000,
    reportDelayMs: 0,
  };
  const cases: [what: string, change: Partial<IdleFacts>, pause: boolean, idleMs: number][] = [
    ['that nobody ever called', {}, true, 99_000],
    ['that has just been started', { startedMs: 95_000 }, false, 5000],
    ['used 10 s ago', { seenMs: 90_000 }, true, 10_000],
    ['used a moment less ago', { seenMs: 90_001 }, false, 9999],
    ['with a request in flight since long', { seenMs: 1000, inFlight: 1 }, false, 99_000],
    ['used through another router', { reportedMs: 95_000 }, false, 5000],
    ['whose use another router may not have told yet', { reportedMs: 65_000, reportDelayMs: 30_000 }, false, 5000],
    ['whose last report is old enough even so', { reportedMs: 60_000, reportDelayMs: 30_000 }, true, 10_000],
    ['that does not run', { running: false }, false, 99_000],
    ['without a timeout', { idleTimeoutMs: 0 }, false, 99_000],
    ['used in the future, by a clock that was set back', { seenMs: 200_000 }, false, 0],
  ];
  for (const [what, change, pause, idleMs] of cases)
    it(`${what} ${pause ? 'is paused' : 'stays'}`, () =>
      assert.deepEqual(judgeIdle({ ...facts, ...change }), { pause, idleMs }));
});

describe('the activity tracker', () => {
  const route = () => ({ activity: { inFlight: 0, lastMs: 0, listed: false } }) as unknown as Route;

  it('lists each used route once, and those in use again and again', () => {
    const tracker = createActivityTracker();
    const [used, inUse] = [route(), route()];
    tracker.touch(used, 1);
    tracker.touch(used, 2);
    tracker.begin(inUse, 3);
    assert.deepEqual(tracker.take(4), [used, inUse]);
    assert.deepEqual(tracker.take(5), [inUse]);
    tracker.end(inUse, 6);
    assert.deepEqual(tracker.take(7), [inUse]);
    assert.deepEqual(tracker.take(8), []);
    assert.equal(inUse.activity.lastMs, 6);
    assert.equal(used.activity.lastMs, 2);
  });
});
