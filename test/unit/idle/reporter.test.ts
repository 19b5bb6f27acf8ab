import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Route } from '../../../src/router/table/index.ts';
import { createActivityReporter } from '../../../src/router/wake/idle/reporter.ts';
import { until } from '../../support/until.ts';

const SANDBOXES = 10_000;
const INTERVAL_MS = 30_000;

describe('reports of activity', () => {
  const routes = (): Route[] =>
    Array.from(
      { length: SANDBOXES },
      (_, index) =>
        ({
          sandbox: { namespace: 'default', name: `s${index}`, uid: `u${index}`, reportedActiveMs: 0 },
          activity: { inFlight: 0, quiet: 0, lastMs: 0, heardMs: 0, reportedMs: 0, listed: false },
        }) as Route,
    );
  /** A reporter whose writes are counted, in all and at once. */
  function counted() {
    let writes = 0;
    let atOnce = 0;
    let most = 0;
    const reporter = createActivityReporter({
      intervalMs: INTERVAL_MS,
      idleTimeoutMsOf: ({ sandbox }) => (sandbox.name === 's0' ? 0 : 600_000),
      failed: (error) => assert.fail(String(error)),
      writer: {
        setRunning: async () => 0,
        announcePause: async () => {},
        annotate: async () => {
          writes++;
          most = Math.max(most, ++atOnce);
          await null;
          atOnce--;
        },
      },
    });
    return { reporter, writes: () => writes, most: () => most };
  }

  it('of 10,000 sandboxes in constant use are one write each in an interval, a few at once: 333 a second', async () => {
    const { reporter, writes, most } = counted();
    const used = routes();
    for (let second = 0; second < 60; second += 5) {
      reporter.report(used, 1_000_000 + second * 1000);
      await until('all are written', () => reporter.pendingCount() === 0);
    }
    assert.equal(writes(), 2 * (SANDBOXES - 1), 'two intervals; the one that never idles is nobody’s business');
    assert.ok(most() <= 8, `${most()} at once`);
  });

  it('are not repeated when another router told the same just now', async () => {
    const { reporter, writes } = counted();
    const used = routes();
    for (const { activity } of used) activity.reportedMs = 990_000;
    reporter.report(used, 1_000_000);
    assert.equal(writes(), 0);
    reporter.report(used, 1_030_000);
    await until('all are written', () => reporter.pendingCount() === 0);
    assert.equal(writes(), SANDBOXES - 1);
  });
});
