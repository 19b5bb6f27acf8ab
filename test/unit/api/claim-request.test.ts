import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { claimNameOf, claimOf, endOf, requestHashOf } from '../../../src/router/api/claim-request.ts';

describe('a request for a claim', () => {
  it('has one name for tenant, namespace and key, which is a valid one', () => {
    const name = claimNameOf({ pool: 'p' }, 'team', 'a', 'key');
    assert.match(name, /^claim-[0-9a-f]{32}$/);
    assert.equal(claimNameOf({ template: 'other' }, 'team', 'a', 'key'), name);
    for (const [tenant, namespace, key] of [
      ['team2', 'a', 'key'],
      ['team', 'b', 'key'],
      ['team', 'a', 'key2'],
      ['teama', '', 'key'],
    ] as const)
      assert.notEqual(claimNameOf({ pool: 'p' }, tenant, namespace, key), name);
    assert.equal(claimNameOf({ pool: 'p', name: 'mine' }, 'team', 'a', 'key'), 'mine');
    assert.notEqual(claimNameOf({}, 'team', 'a', undefined), claimNameOf({}, 'team', 'a', undefined));
  });

  it('is the same in any order of its fields, and however long its caller waits', () => {
    const env = [{ name: 'A', value: '1' }];
    const hash = requestHashOf({ pool: 'p', env, labels: { a: '1', b: '2' } });
    assert.equal(requestHashOf({ labels: { b: '2', a: '1' }, env, pool: 'p', wait: '9s' }), hash);
    for (const other of [
      { pool: 'q', env, labels: { a: '1', b: '2' } },
      { pool: 'p', env, labels: { a: '1', b: '3' } },
      { pool: 'p', env: [...env, ...env], labels: { a: '1', b: '2' } },
    ])
      assert.notEqual(requestHashOf(other), hash);
  });

  const now = new Date('2030-01-01T00:00:00.500Z');
  it('ends in whole seconds ahead, or never', () => {
    assert.equal(endOf({ lifetime: '1h30m' }, now), '2030-01-01T01:30:00Z');
    assert.equal(endOf({ shutdownTime: '2030-01-01T02:00:00+01:00' }, now), '2030-01-01T01:00:00Z');
    assert.equal(endOf({}, now), undefined);
    for (const past of [{ shutdownTime: '2029-12-31T23:59:59Z' }, { lifetime: '0s' }, { lifetime: '99999d' }])
      assert.throws(() => endOf(past, now), { code: 'bad_request' });
  });

  it('puts into the object what was asked for and nothing else', () => {
    const at = { namespace: 'a', name: 'x', pool: 'p', now };
    const { spec } = claimOf({ pool: 'p', lifetime: '1m', shutdownPolicy: 'Delete', labels: { l: '1' } }, at);
    assert.deepEqual(spec, {
      warmPoolRef: { name: 'p' },
      additionalPodMetadata: { labels: { l: '1' } },
      lifecycle: { shutdownTime: '2030-01-01T00:01:00Z', shutdownPolicy: 'Delete' },
    });
    assert.deepEqual(claimOf({ pool: 'p' }, at).spec, { warmPoolRef: { name: 'p' } });
  });
});
