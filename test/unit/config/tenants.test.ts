import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { loadSettings, type Settings } from '../../../src/config/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-tenants-'));
after(() => rmSync(directory, { recursive: true }));

function read(text: string): Settings {
  const file = join(directory, 'sandbox-router.yaml');
  writeFileSync(file, text);
  return loadSettings({ command: 'serve', file, environment: {}, flags: {} });
}

describe('the configuration file', () => {
  it('groups settings as one likes', () => {
    for (const text of ['egress: { verify: enforce }', 'egress.verify: enforce', 'egressVerify: enforce'])
      assert.equal(read(text).egressVerify, 'enforce', text);
  });

  it('has tenants, with what is left out filled in', () => {
    const { tenants } = read(
      'tenants: { a: , b: { namespaces: [x, y], idleTimeout: 10m, limits: { held: 3 } }, c: { namespaces: "*" } }',
    );
    assert.deepEqual(tenants?.get('a'), { namespaces: ['a'], defaultNamespace: 'a', limits: {}, sandboxLimits: {} });
    assert.deepEqual(tenants?.get('b'), {
      namespaces: ['x', 'y'],
      defaultNamespace: 'x',
      limits: { held: 3 },
      sandboxLimits: {},
      idleTimeoutMs: 600_000,
    });
    assert.equal(tenants?.get('c')?.defaultNamespace, 'c');
  });

  it('has issuers, with safe algorithms', () => {
    const [issuer] = read('jwt: [{ issuer: https://id.test, audiences: [r], tenants: { x: tenant-a } }]').jwt;
    assert.deepEqual(issuer?.algorithms, ['RS256', 'ES256', 'EdDSA']);
    assert.deepEqual(issuer?.scopes, ['route', 'wake']);
    assert.equal(issuer?.tenants?.get('x'), 'tenant-a');
  });

  const refused: [what: string, text: string, message: RegExp][] = [
    ['tenants that are a list', 'tenants: [a]', /tenants must be a mapping/],
    ['a tenant whose name is none', 'tenants: { A: {} }', /must be a name of lower-case letters/],
    ['a key that is none', 'tenants: { a: { limit: {} } }', /tenants\.a: unknown key "limit"\. Did you mean "limits"/],
    ['a limit that is none', 'tenants: { a: { limits: { rps: 1 } } }', /tenants\.a\.limits: unknown key "rps"/],
    ['a limit of nothing', 'tenants: { a: { limits: { held: 0 } } }', /limits\.held must be a whole number, 1 or more/],
    [
      'a limit for sandboxes that has no sense',
      'tenants: { a: { sandboxLimits: { awake: 1 } } }',
      /unknown key "awake"/,
    ],
    ['no namespace', 'tenants: { a: { namespaces: [] } }', /must name at least one/],
    ['a default that is not its own', 'tenants: { a: { defaultNamespace: b } }', /must be one of its namespaces/],
    [
      'a namespace of two',
      'tenants: { a: {}, b: { namespaces: [a] } }',
      /tenants\.b\.namespaces: a belongs to tenant a already/,
    ],
    ['a time that is none', 'tenants: { a: { idleTimeout: 10 } }', /idleTimeout must be a duration .* or never/],
    ['a key twice', 'egress: { verify: warn }\negressVerify: off', /sets "egressVerify" twice/],
    ['a key that is none in a group', 'egress: { verfy: warn }', /"egressVerfy" .*Did you mean "egressVerify"/],
    ['a promise that names no block', 'egressClasses: { own: { allowed: [all] } }', /egressClasses\.own\.allowed\[0\]/],
    ['an issuer without audience', 'jwt: [{ issuer: https://id.test }]', /jwt\[0\]\.audiences must name at least one/],
    [
      'an issuer without TLS',
      'jwt: [{ issuer: http://id.test, audiences: [r] }]',
      /jwt\[0\]\.issuer must be an https URL/,
    ],
    [
      'a shared secret',
      'jwt: [{ issuer: https://id.test, audiences: [r], algorithms: [HS256] }]',
      /algorithms\[0\] must be one of/,
    ],
    [
      'no signature',
      'jwt: [{ issuer: https://id.test, audiences: [r], algorithms: [none] }]',
      /algorithms\[0\] must be one of/,
    ],
  ];
  for (const [what, text, message] of refused) it(`refuses ${what}`, () => assert.throws(() => read(text), message));
});
