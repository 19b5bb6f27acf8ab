import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mintScopedToken, scopedTokenKey, verifyScopedToken } from '../../../src/router/identity/scoped-token.ts';

const key = scopedTokenKey(Buffer.from(' 0123456789abcdef0123456789abcdef\n'));
const claims = { namespace: 'ns', name: 'box-a', expiresAtSeconds: 1_893_456_000 };
// Contract section 3.4's vector.
const vector =
  'v1.eyJucyI6Im5zIiwibmFtZSI6ImJveC1hIiwiZXhwIjoxODkzNDU2MDAwfQ.5B9jEjPUDZ8rB8Sp51Led6tnztRcPP6irxwuhF3nBGw';
const nowMs = 1_800_000_000_000;

describe('scoped tokens', () => {
  it('are minted byte for byte as upstream does', () => assert.equal(mintScopedToken(key, claims), vector));
  it('say their claims until they expire', () => {
    assert.deepEqual(verifyScopedToken([key], vector, nowMs), claims);
    assert.deepEqual(verifyScopedToken([key], vector, claims.expiresAtSeconds * 1000 - 1), claims);
    assert.equal(verifyScopedToken([key], vector, claims.expiresAtSeconds * 1000), 'expired');
  });
  it('rotate: each of several keys is found by its id', () => {
    const older = scopedTokenKey(Buffer.alloc(32, 'a'), 'older');
    const newer = scopedTokenKey(Buffer.alloc(32, 'b'), 'newer');
    for (const each of [older, newer, key])
      assert.deepEqual(verifyScopedToken([older, newer, key], mintScopedToken(each, claims), nowMs), claims);
    assert.equal(verifyScopedToken([newer], mintScopedToken(older, claims), nowMs), 'unknown_key');
    const renamed = mintScopedToken(older, claims).replace('older', 'newer');
    assert.equal(verifyScopedToken([older, newer], renamed, nowMs), 'bad_signature');
  });
  it('refuse a secret that is too short', () =>
    assert.throws(() => scopedTokenKey(Buffer.from('short')), /at least 32 bytes/));

  const [version = '', payload = '', signature = ''] = vector.split('.');
  const other = Buffer.from('{"ns":"ns","name":"box-b","exp":1893456000}').toString('base64url');
  const tampered: [name: string, token: string, refusal: string][] = [
    ['empty', '', 'malformed'],
    ['one part', version, 'malformed'],
    ['without signature', `${version}.${payload}`, 'malformed'],
    ['truncated', vector.slice(0, -1), 'malformed'],
    ['padded', `${vector}=`, 'malformed'],
    ['another payload', `${version}.${other}.${signature}`, 'bad_signature'],
    ['another signature', `${version}.${payload}.${'A'.repeat(43)}`, 'bad_signature'],
    ['another version', `v3.${payload}.${signature}`, 'malformed'],
    ['the last signature bits set, which decode alike', `${vector.slice(0, -1)}x`, 'malformed'],
    ['huge', `v1.${'A'.repeat(10_000)}.${signature}`, 'malformed'],
    ['alg none', 'v1.e30.', 'malformed'],
    ['a key id with a path', `v2.../../etc/passwd.${payload}.${signature}`, 'malformed'],
  ];
  for (const [name, token, refusal] of tampered)
    it(`refuse ${name}`, () => assert.equal(verifyScopedToken([key], token, nowMs), refusal));
});
