import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createApiKeyAuthenticator } from '../../../src/router/identity/api-key.ts';
import { createApiKey, formatApiKeys, parseApiKeys } from '../../../src/router/identity/api-key-file.ts';
import { projectRoot } from '../../support/checkout.ts';

describe('API keys', () => {
  const { key, stored } = createApiKey({ tenant: 'a', scopes: ['route'], expiresAt: '2027-01-31T00:00:00Z' });
  const other = createApiKey({ tenant: 'b', scopes: ['manage'], namespaces: '*' });

  it('are found by their hash, and never stored', () => {
    const text = formatApiKeys([stored, other.stored]);
    assert.ok(!text.includes(key));
    const authenticator = createApiKeyAuthenticator(() => parseApiKeys(text));
    assert.deepEqual(authenticator.authenticate(key, 0), {
      tenant: 'a',
      namespaces: undefined,
      scopes: new Set(['route']),
      credentialId: stored.id,
      expiresAtMs: Date.parse('2027-01-31T00:00:00Z'),
    });
    for (const wrong of [`${key}x`, key.slice(1), stored.sha256, stored.id, ''])
      assert.equal(authenticator.authenticate(wrong, 0), undefined, wrong);
  });

  const base = { id: 'k', sha256: 'a'.repeat(64), tenant: 't', scopes: ['route'] };
  const refused: [what: string, keys: unknown, message: RegExp][] = [
    ['no list', {}, /"keys" must be a list/],
    ['an entry that is none', [1], /keys\[0\]: must be an object/],
    ['a key without id', [{ ...base, id: undefined }], /"id" is missing/],
    ['a hash that is none', [{ ...base, sha256: 'abc' }], /keys\[0\] \(k\): "sha256"/],
    ['an unknown scope', [{ ...base, scopes: ['root'] }], /"scopes" may hold route, wake, manage/],
    ['an end that is no time', [{ ...base, expiresAt: 'soon' }], /"expiresAt"/],
    ['a misspelt field, which might have narrowed it', [{ ...base, namespace: ['a'] }], /"namespace" is not known/],
    ['two of one id', [base, base], /keys\[1\] \(k\): an earlier key/],
  ];
  for (const [what, keys, message] of refused)
    it(`refuse ${what}`, () => assert.throws(() => parseApiKeys(JSON.stringify({ keys })), message));
});

describe('sandbox-router token', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-token-'));
  after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'keys.json');
  const command = (...rest: string[]) => [join(projectRoot, 'src/cli/main.ts'), 'token', ...rest, '--file', file];
  const run = (...rest: string[]) => execFileSync(process.execPath, command(...rest), { encoding: 'utf8' });

  it('prints a key once, lists and revokes it', async () => {
    const key = run('create', '--tenant', 'a', '--expires', '90d', '--scope', 'manage,route').trim();
    run('create', '--tenant', 'b', '--expires', 'never', '--namespaces', 'x,y');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const keys = parseApiKeys(readFileSync(file, 'utf8'));
    const credential = await createApiKeyAuthenticator(() => keys).authenticate(key, 0);
    assert.deepEqual(credential?.scopes, new Set(['route', 'manage']));
    const listed = run('list');
    assert.match(listed, /a +route,manage/);
    assert.match(listed, /b +route,wake +x,y +never/);
    run('revoke', keys[0]?.id ?? '');
    assert.deepEqual(
      parseApiKeys(readFileSync(file, 'utf8')).map(({ tenant }) => tenant),
      ['b'],
    );
  });

  for (const [what, rest, message] of [
    ['a tenant that is no name', ['create', '--tenant', 'A', '--expires', '1d'], /--tenant/],
    ['a time that is over', ['create', '--tenant', 'a', '--expires', '2020-01-01T00:00:00Z'], /--expires/],
    ['an unknown scope', ['create', '--tenant', 'a', '--expires', '1d', '--scope', 'root'], /--scope/],
    ['an unknown key', ['revoke', 'nobody'], /no key "nobody"/],
  ] as const)
    it(`refuses ${what}, and leaves the file as it is`, () => {
      const before = readFileSync(file, 'utf8');
      const { status, stderr } = spawnSync(process.execPath, command(...rest), { encoding: 'utf8' });
      assert.equal(status, 2);
      assert.match(stderr, message);
      assert.equal(readFileSync(file, 'utf8'), before);
      assert.ok(!existsSync(`${file}.new`));
    });

  it('keeps a second writer out', () => {
    writeFileSync(`${file}.new`, '');
    const { status, stderr } = spawnSync(process.execPath, command('revoke', 'x'), { encoding: 'utf8' });
    assert.equal(status, 2);
    assert.match(stderr, /Another command changes/);
    rmSync(`${file}.new`);
  });
});
