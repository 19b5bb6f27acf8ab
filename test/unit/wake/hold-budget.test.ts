import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createHoldBudget, heldBytesOf } from '../../../src/router/wake/hold-budget.ts';

describe('the budget of held requests', () => {
  const budget = () => createHoldBudget({ heldPerSandbox: 2, heldTotal: 3, heldBytes: 1000 });

  it('bounds their number, for one sandbox and in all', () => {
    const { refusal, take, give } = budget();
    assert.equal(refusal(1, 'a', 10), undefined);
    assert.match(refusal(2, 'a', 10) ?? '', /held for a\./);
    for (let n = 0; n < 3; n++) take(10);
    assert.match(refusal(0, 'b', 10) ?? '', /held in this router/);
    give(10);
    assert.equal(refusal(0, 'b', 10), undefined);
  });

  it('bounds what they take in memory, and gets it back', () => {
    const { refusal, take, give, bytes, count } = budget();
    take(900);
    assert.match(refusal(0, 'b', 101) ?? '', /too much memory/);
    assert.equal(refusal(0, 'b', 100), undefined);
    give(900);
    assert.deepEqual([bytes(), count()], [0, 0]);
    assert.equal(refusal(0, 'b', 1000), undefined);
  });

  const plain = { rawHeaders: ['Host', 'x'], url: '/a', contentLength: -1, hasBody: false, expectContinue: false };
  const bare = heldBytesOf(plain);
  const bodies: [what: string, more: Partial<typeof plain>, extraBytes: number][] = [
    ['a short body', { hasBody: true, contentLength: 100 }, 100],
    ['a long body, of which little is read', { hasBody: true, contentLength: 1e9 }, 131_072],
    ['a body of unknown length', { hasBody: true }, 131_072],
    ['a body that waits to be asked for', { hasBody: true, contentLength: 1e9, expectContinue: true }, 0],
    ['a long URL', { url: `/${'a'.repeat(999)}` }, 998],
    ['a long header', { rawHeaders: ['Host', 'x'.repeat(501)] }, 500],
  ];
  for (const [what, more, extraBytes] of bodies)
    it(`counts ${what}`, () => assert.equal(heldBytesOf({ ...plain, ...more }) - bare, extraBytes));
});
