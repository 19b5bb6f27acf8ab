import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { takeToken, tokensLeft } from '../../../src/router/policy/token-bucket.ts';

describe('a token bucket', () => {
  const rate = { perSecond: 10, burst: 3 };

  it('gives its burst at once, then one token each interval', () => {
    const bucket = { fullAtMs: 0 };
    assert.deepEqual(
      [1, 2, 3].map(() => takeToken(bucket, rate, 1000)),
      [0, 0, 0],
    );
    assert.equal(takeToken(bucket, rate, 1000), 100);
    assert.equal(takeToken(bucket, rate, 1099), 1);
    assert.equal(takeToken(bucket, rate, 1100), 0);
    assert.equal(takeToken(bucket, rate, 1100), 100);
  });

  it('tells what is left', () => {
    const bucket = { fullAtMs: 0 };
    assert.deepEqual(tokensLeft(bucket, rate, 1000), { remaining: 3, resetMs: 0 });
    takeToken(bucket, rate, 1000);
    assert.deepEqual(tokensLeft(bucket, rate, 1000), { remaining: 2, resetMs: 100 });
  });

  it('never gives more than burst plus rate times time, whatever the order of calls', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 300 }), (gapsMs) => {
        const bucket = { fullAtMs: 0 };
        let nowMs = 1000;
        let given = 0;
        for (const gapMs of gapsMs) {
          nowMs += gapMs;
          if (takeToken(bucket, rate, nowMs) === 0) given++;
        }
        assert.ok(given <= rate.burst + ((nowMs - 1000) * rate.perSecond) / 1000 + 1e-6);
      }),
    );
  });
});
