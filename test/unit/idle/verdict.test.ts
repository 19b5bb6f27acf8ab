import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Route } from '../../../src/router/table/index.ts';
import { createActivityTracker } from '../../../src/router/wake/idle/activity.ts';
import { type IdleFacts, judgeIdle } from '../../../src/router/wake/idle/verdict.ts';

describe('a sandbox with an idle timeout of 10 s, seen at second 100 by a router that knows everything since second 1', () => {
  const facts: IdleFacts = {
    nowMs: 100_000,
    idleTimeoutMs: 10_000,
    running: true,
    inFlight: 0,
    busyMs: 0,
    seenMs: 0,
    heardMs: 0,
    cpuMs: 0,
    knownMs: 1000,
    stampedIdleMs: 99_000,
    reportDelayMs: 0,
  };
  const cases: [what: string, change: Partial<IdleFacts>, pause: boolean, idleMs: number][] = [
    ['that nobody ever called', {}, true, 99_000],
    ['that had been used just before, by its timestamps', { stampedIdleMs: 5000 }, false, 5000],
    ['that was used in the future, by timestamps of a wrong clock', { stampedIdleMs: -3_600_000 }, false, 0],
    ['whose pod has just come', { heardMs: 95_000 }, false, 5000],
    ['whose pod has just come, an hour ago by its timestamps', { heardMs: 95_000, stampedIdleMs: 3.6e6 }, false, 5000],
    ['used 10 s ago', { seenMs: 90_000 }, true, 10_000],
    ['used 10 s ago, in the future by its timestamps', { seenMs: 90_000, stampedIdleMs: -3.6e6 }, true, 10_000],
    ['used a moment less ago', { seenMs: 90_001 }, false, 9999],
    ['with a request in flight since long', { seenMs: 1000, inFlight: 1 }, false, 99_000],
    ['used through another router', { seenMs: 1000, heardMs: 95_000 }, false, 5000],
    ['whose use another router may not have told yet', { heardMs: 65_000, reportDelayMs: 30_000 }, false, 5000],
    ['whose last report is old enough even so', { heardMs: 60_000, reportDelayMs: 30_000 }, true, 10_000],
    [
      'that others might use, as the router listens for 5 s only',
      { knownMs: 95_000, reportDelayMs: 3000 },
      false,
      99_000,
    ],
    ['that nobody can use unheard of', { knownMs: 94_000, reportDelayMs: 3000 }, true, 99_000],
    ['that does not run', { running: false }, false, 99_000],
    ['without a timeout', { idleTimeoutMs: 0 }, false, 99_000],
  ];
  for (const [what, change, pause, idleMs] of cases)
    it(`${what} ${pause ? 'is paused' : 'stays'}`, () =>
      assert.deepEqual(judgeIdle({ ...facts, ...change }), { pause, idleMs }));
});

describe('the activity tracker', () => {
  const route = () =>
    ({ activity: { inFlight: 0, quiet: 0, lastMs: 0, heardMs: 0, reportedMs: 0, listed: false } }) as unknown as Route;

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
