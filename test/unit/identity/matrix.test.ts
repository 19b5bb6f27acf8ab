import assert from 'node:assert/strict';
import { createHash, createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, it } from 'node:test';
import { createLocalJWKSet, exportJWK } from 'jose';
import type { KubernetesObject } from '../../../src/kubernetes/index.ts';
import { scanHeaders } from '../../../src/router/forward/request-headers.ts';
import {
  type Authenticator,
  bearerToken,
  createApiKeyAuthenticator,
  createIdentity,
  createJwtAuthenticator,
  createLinkAuthenticator,
  createLinks,
  createScopedTokenAuthenticator,
  createTokenReviewAuthenticator,
  linkKey,
  maySee,
  mintScopedToken,
  type StoredApiKey,
  scopedTokenKey,
} from '../../../src/router/identity/index.ts';
import type { LinkClaims } from '../../../src/router/identity/link/link-claims.ts';
import { mintLink } from '../../../src/router/identity/link/link-token.ts';
import { createTenants } from '../../../src/router/policy/tenants.ts';

const NOW_MS = 1_800_000_000_000;
const NOW = NOW_MS / 1000;
const ISSUER = 'https://id.example.com';

/** Every way in which a credential can be wrong. */
const CASES = [
  'expired',
  'not yet valid',
  'wrong audience',
  'wrong issuer',
  'of an unknown tenant',
  'tampered in its head',
  'tampered in its body',
  'tampered in its signature',
  'truncated',
  'huge',
  'alg none',
  'key confusion',
  'key id with a path',
  'of a key that was rotated out',
  'revoked',
] as const;
type Case = (typeof CASES)[number];

/** One authenticator, a credential that is valid, and all that are not; a text after `n/a:` tells why a case can't be. */
interface Subject {
  authenticator: Authenticator;
  valid: string;
  /** Sandboxes that the valid one may not see although its tenant exists. */
  foreign: { namespace: string; name: string }[];
  wrong: Record<Case, string>;
}

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const rotated = generateKeyPairSync('rsa', { modulusLength: 2048 });
const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** Changes the first letter of one of the parts between dots. */
function tampered(token: string, part: number): string {
  const parts = token.split('.');
  const text = parts.at(part) ?? '';
  parts.splice(part, 1, (text.startsWith('A') ? 'B' : 'A') + text.slice(1));
  return parts.join('.');
}

function jwt(claims: object = {}, head: object = {}, key: KeyObject = privateKey): string {
  const payload = { iss: ISSUER, aud: 'sandbox-router', tenant: 'tenant-a', exp: NOW + 600, ...claims };
  const signed = `${encode({ alg: 'RS256', kid: 'one', ...head })}.${encode(payload)}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
}

function jwtConfusions(): Pick<Record<Case, string>, 'alg none' | 'key confusion' | 'key id with a path'> {
  const payload = encode({ iss: ISSUER, aud: 'sandbox-router', tenant: 'tenant-a', exp: NOW + 600 });
  const hmac = `${encode({ alg: 'HS256', kid: 'one' })}.${payload}`;
  const secret = publicKey.export({ type: 'spki', format: 'pem' });
  return {
    'alg none': `${encode({ alg: 'none', kid: 'one' })}.${payload}.AAAA`,
    'key confusion': `${hmac}.${createHmac('sha256', secret).update(hmac).digest('base64url')}`,
    'key id with a path': jwt({}, { kid: '../../../../dev/null' }, rotated.privateKey),
  };
}

async function jwtSubject(): Promise<Subject> {
  const keys = createLocalJWKSet({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'RS256' }] });
  const settings = {
    issuer: ISSUER,
    audiences: ['sandbox-router'],
    algorithms: ['RS256'],
    tenantClaim: 'tenant',
    scopes: ['route'] as const,
  };
  const valid = jwt();
  return {
    authenticator: createJwtAuthenticator([{ ...settings, keys }], () => {}),
    valid,
    foreign: [{ namespace: 'tenant-b', name: 'box' }],
    wrong: {
      ...jwtConfusions(),
      expired: jwt({ exp: NOW - 61 }),
      'not yet valid': jwt({ nbf: NOW + 61 }),
      'wrong audience': jwt({ aud: 'other' }),
      'wrong issuer': jwt({ iss: 'https://evil.test' }),
      'of an unknown tenant': jwt({ tenant: 'nobody' }),
      'tampered in its head': tampered(valid, 0),
      'tampered in its body': tampered(valid, 1),
      'tampered in its signature': tampered(valid, 2),
      truncated: valid.slice(0, -1),
      huge: jwt({ filler: 'x'.repeat(20_000) }),
      'of a key that was rotated out': jwt({}, {}, rotated.privateKey),
      revoked: 'n/a: JWTs end by their exp',
    },
  };
}

function tokenReviewSubject(): Subject {
  const known = new Map<string, { username: string; audiences: string[] }>();
  const account = (name: string, namespace: string, audience = 'sandbox-router') => {
    const token = jwt({ iss: 'https://kubernetes', sub: `${namespace}:${name}` });
    known.set(token, { username: `system:serviceaccount:${namespace}:${name}`, audiences: [audience] });
    return token;
  };
  const user = jwt({ sub: 'somebody' });
  known.set(user, { username: 'somebody', audiences: ['sandbox-router'] });
  const client = {
    create: async (_type: unknown, object: KubernetesObject) => {
      const found = known.get((object as unknown as { spec: { token: string } }).spec.token);
      const status = found && { authenticated: true, user: { username: found.username }, audiences: found.audiences };
      return { ...object, status: status ?? { authenticated: false } };
    },
  };
  const valid = account('agent', 'tenant-a');
  return {
    authenticator: createTokenReviewAuthenticator(client as never, {
      audiences: ['sandbox-router'],
      scopes: ['route'],
      subjectAccessReview: false,
    }),
    valid,
    foreign: [{ namespace: 'tenant-b', name: 'box' }],
    wrong: {
      ...jwtConfusions(),
      // What the API server does not authenticate; why is its to know.
      expired: jwt({ exp: NOW - 1, sub: 'late' }),
      'not yet valid': jwt({ nbf: NOW + 600 }),
      'wrong audience': account('other', 'tenant-a', 'elsewhere'),
      'wrong issuer': user,
      'of an unknown tenant': account('agent', 'nobody'),
      'tampered in its head': tampered(valid, 0),
      'tampered in its body': tampered(valid, 1),
      'tampered in its signature': tampered(valid, 2),
      truncated: valid.slice(0, -1),
      huge: jwt({ filler: 'x'.repeat(20_000) }),
      'of a key that was rotated out': jwt({}, {}, rotated.privateKey),
      revoked: jwt({ sub: 'deleted-account' }),
    },
  };
}

function scopedTokenSubject(): Subject {
  const first = scopedTokenKey(Buffer.alloc(32, 'a'));
  const second = scopedTokenKey(Buffer.alloc(32, 'b'), 'second');
  const gone = scopedTokenKey(Buffer.alloc(32, 'c'), 'gone');
  const claims = { namespace: 'tenant-a', name: 'box', expiresAtSeconds: NOW + 600 };
  const valid = mintScopedToken(second, claims);
  const [, , payload = '', signature = ''] = valid.split('.');
  const bare = createHmac('sha256', first.secret).update(payload).digest('base64url');
  return {
    authenticator: createScopedTokenAuthenticator(() => [first, second], tenants()),
    valid,
    foreign: [
      { namespace: 'tenant-a', name: 'other' },
      { namespace: 'tenant-b', name: 'box' },
    ],
    wrong: {
      expired: mintScopedToken(second, { ...claims, expiresAtSeconds: NOW }),
      'not yet valid': 'n/a: scoped tokens have no beginning',
      'wrong audience': 'n/a: scoped tokens have no audience',
      'wrong issuer': 'n/a: scoped tokens have no issuer but their key',
      'of an unknown tenant': mintScopedToken(second, { ...claims, namespace: 'nobody' }),
      'tampered in its head': valid.replace('v2.second', 'v2.secone'),
      'tampered in its body': tampered(valid, 2),
      'tampered in its signature': tampered(valid, 3),
      truncated: valid.slice(0, -1),
      huge: `v1.${'A'.repeat(20_000)}.${signature}`,
      'alg none': `v1.${payload}.`,
      // A signature without the context that upstream signs with.
      'key confusion': `v1.${payload}.${bare}`,
      'key id with a path': valid.replace('second', '../second'),
      'of a key that was rotated out': mintScopedToken(gone, claims),
      revoked: 'n/a: scoped tokens end with their key',
    },
  };
}

function linkSubject(): Subject {
  const key = linkKey(Buffer.alloc(32, 'l'), 'one');
  const claims: LinkClaims = {
    id: 'x',
    namespace: 'tenant-a',
    sandbox: 'box',
    tenant: 'tenant-a',
    expiresAtSeconds: NOW + 600,
    openBySeconds: undefined,
    open: undefined,
    port: undefined,
    pathPrefix: undefined,
    methods: undefined,
    mayWake: true,
    oneUse: false,
  };
  const valid = mintLink(key, 'link', claims);
  const [, , payload = '', signature = ''] = valid.split('.');
  return {
    authenticator: createLinkAuthenticator(
      createLinks(() => [key]),
      tenants(),
    ),
    valid,
    foreign: [
      { namespace: 'tenant-a', name: 'other' },
      { namespace: 'tenant-b', name: 'box' },
    ],
    wrong: {
      expired: mintLink(key, 'link', { ...claims, expiresAtSeconds: NOW }),
      'not yet valid': 'n/a: links have no beginning',
      'wrong audience': 'n/a: links have no audience',
      'wrong issuer': 'n/a: links have no issuer but their key',
      'of an unknown tenant': mintLink(key, 'link', { ...claims, tenant: 'nobody' }),
      'tampered in its head': valid.replace('.one.', '.two.'),
      'tampered in its body': tampered(valid, 2),
      'tampered in its signature': tampered(valid, 3),
      truncated: valid.slice(0, -1),
      huge: `l1.one.${'A'.repeat(20_000)}.${signature}`,
      'alg none': `l1.one.${payload}.`,
      // The value of a cookie, in a header.
      'key confusion': mintLink(key, 'session', claims),
      'key id with a path': valid.replace('.one.', '.../one.'),
      'of a key that was rotated out': mintLink(linkKey(Buffer.alloc(32, 'z'), 'one'), 'link', claims),
      revoked: 'n/a: links end with their key',
    },
  };
}

function apiKeySubject(): Subject {
  const valid = 'sr_valid-key-of-tenant-a';
  const key = (id: string, text: string, more: Partial<StoredApiKey> = {}): StoredApiKey => ({
    id,
    sha256: sha256(text),
    tenant: 'tenant-a',
    scopes: ['route'],
    ...more,
  });
  const stored = [
    key('valid', valid),
    key('expired', 'sr_expired', { expiresAt: new Date(NOW_MS).toISOString() }),
    key('nobody', 'sr_nobody', { tenant: 'nobody' }),
  ];
  return {
    authenticator: createApiKeyAuthenticator(() => stored),
    valid,
    foreign: [{ namespace: 'tenant-b', name: 'box' }],
    wrong: {
      expired: 'sr_expired',
      'not yet valid': 'n/a: keys have no beginning',
      'wrong audience': 'n/a: keys have no audience',
      'wrong issuer': 'n/a: keys have no issuer',
      'of an unknown tenant': 'sr_nobody',
      'tampered in its head': valid.replace('sr_', 'SR_'),
      'tampered in its body': valid.replace('key', 'kez'),
      'tampered in its signature': 'n/a: keys have no signature',
      truncated: valid.slice(0, -1),
      huge: valid + 'x'.repeat(20_000),
      'alg none': 'n/a: keys have no algorithm',
      // The hash that is stored, in place of the key.
      'key confusion': sha256(valid),
      'key id with a path': '../valid',
      'of a key that was rotated out': 'sr_earlier-key',
      revoked: 'sr_revoked',
    },
  };
}

function tenants() {
  const settings = (name: string) => ({ namespaces: [name], defaultNamespace: name, limits: {}, sandboxLimits: {} });
  return createTenants(new Map(['tenant-a', 'tenant-b'].map((name) => [name, settings(name)])));
}

const subjects: [name: string, make: () => Subject | Promise<Subject>][] = [
  ['api-key', apiKeySubject],
  ['jwt', jwtSubject],
  ['token-review', tokenReviewSubject],
  ['scoped-token', scopedTokenSubject],
  ['link', linkSubject],
];

// Client certificates have no text to tamper with: test/integration/identity-tls.test.ts has their part, on real connections.
for (const [name, make] of subjects) {
  const subject = await make();
  describe(`${name} credentials`, () => {
    const identity = createIdentity([subject.authenticator], tenants());
    /** Who a request with these headers is from, as the proxy finds out. */
    const caller = async (...headers: string[]) => {
      const { duplicate, authorization, sandboxAuthorization } = scanHeaders(headers);
      if (duplicate !== undefined) return `${duplicate} twice`;
      const principal = await identity.authenticate(bearerToken(sandboxAuthorization ?? authorization), NOW_MS);
      return principal?.tenant.name;
    };

    it('let their tenant in, and are remembered no longer than they are valid', async () => {
      assert.equal(await caller('Authorization', `Bearer ${subject.valid}`), 'tenant-a');
      const principal = identity.cached(subject.valid, NOW_MS);
      assert.ok(principal !== undefined);
      assert.equal(maySee(principal, { namespace: 'tenant-a', name: 'box' }), true);
      if (name !== 'api-key') assert.equal(identity.cached(subject.valid, principal.expiresAtMs), undefined);
    });
    it('see no foreign sandbox', async () => {
      const principal = await identity.authenticate(subject.valid, NOW_MS);
      assert.ok(principal !== undefined);
      for (const sandbox of subject.foreign) assert.equal(maySee(principal, sandbox), false, JSON.stringify(sandbox));
    });
    for (const what of CASES.filter((each) => !subject.wrong[each].startsWith('n/a: ')))
      it(`that are wrong: ${what}`, async () => {
        const credential = subject.wrong[what];
        assert.notEqual(credential, subject.valid);
        assert.equal(await caller('Authorization', `Bearer ${credential}`), undefined);
      });
    it('count under their scheme alone, in any case', async () => {
      for (const good of ['Bearer ', 'bearer ', 'BEARER   '])
        assert.equal(await caller('Authorization', good + subject.valid), 'tenant-a', good);
      for (const bad of ['Basic ', 'Token ', 'Bearer', '', 'Bearer Bearer ', 'Bearer,'])
        assert.equal(await caller('Authorization', bad + subject.valid), undefined, bad);
      assert.equal(await caller('Authorization', 'Bearer '), undefined);
    });
    it('that come twice are refused, also if both are the same', async () => {
      const value = `Bearer ${subject.valid}`;
      assert.equal(await caller('Authorization', value, 'authorization', value), 'Authorization twice');
      const ours = 'Sandbox-Authorization';
      assert.equal(await caller(ours, value, ours, 'Bearer other'), `${ours} twice`);
    });
    it('in Sandbox-Authorization decide, whatever Authorization says', async () => {
      const [good, bad] = [`Bearer ${subject.valid}`, 'Bearer other'];
      assert.equal(await caller('Sandbox-Authorization', good, 'Authorization', bad), 'tenant-a');
      assert.equal(await caller('Sandbox-Authorization', bad, 'Authorization', good), undefined);
      assert.equal(await caller('Sandbox-Authorization', '', 'Authorization', good), undefined);
    });
  });
}

describe('rules of contract section 3.9', () => {
  const secret = Buffer.alloc(32, 's');
  const claims = { namespace: 'tenant-a', name: 'box', expiresAtSeconds: NOW + 1 };

  it('a token of one second is usable for one second', async () => {
    const key = scopedTokenKey(secret);
    const authenticator = createScopedTokenAuthenticator(() => [key], tenants());
    const token = mintScopedToken(key, claims);
    assert.ok(await authenticator.authenticate(token, NOW_MS + 999));
    assert.equal(await authenticator.authenticate(token, NOW_MS + 1000), undefined);
  });
  it('white space around a secret is no part of it, and what happens to its buffer later neither', () => {
    const bytes = Buffer.from(` ${secret} \n`);
    const key = scopedTokenKey(bytes);
    const token = mintScopedToken(scopedTokenKey(secret), claims);
    assert.equal(mintScopedToken(key, claims), token);
    bytes.fill(0);
    assert.equal(mintScopedToken(key, claims), token);
  });
  for (const bad of [
    { ...claims, namespace: '' },
    { ...claims, name: 'Box' },
    { ...claims, expiresAtSeconds: 0 },
    { ...claims, expiresAtSeconds: 1.5 },
    { ...claims, expiresAtSeconds: Number.NaN },
  ])
    it(`nothing is minted for ${JSON.stringify(bad)}`, () =>
      assert.throws(() => mintScopedToken(scopedTokenKey(secret), bad), RangeError));

  const review = (answer: () => Promise<object>) => {
    let asked = 0;
    const specs: unknown[] = [];
    const client = {
      create: async (_type: unknown, object: { spec: unknown }) => {
        asked++;
        specs.push(object.spec);
        return answer();
      },
    };
    const settings = { audiences: ['a', 'b'], scopes: ['route'] as const, subjectAccessReview: false };
    const identity = createIdentity([createTokenReviewAuthenticator(client as never, settings)], tenants());
    return { identity, asked: () => asked, specs };
  };
  const token = jwt();
  const user = { username: 'system:serviceaccount:tenant-a:agent' };

  it('what a TokenReview said is remembered, both ways, and asked with the audiences', async () => {
    const allowed = review(async () => ({ status: { authenticated: true, user, audiences: ['b'] } }));
    for (let time = 0; time < 3; time++) assert.ok(await allowed.identity.authenticate(token, NOW_MS));
    assert.equal(allowed.asked(), 1);
    assert.deepEqual(allowed.specs, [{ token, audiences: ['a', 'b'] }]);
    const denied = review(async () => ({ status: { authenticated: false } }));
    for (let time = 0; time < 3; time++) assert.equal(await denied.identity.authenticate(token, NOW_MS), undefined);
    assert.equal(denied.asked(), 1);
  });
  it('an API server that fails lets nobody in, and is told apart from a refusal', async () => {
    const failing = review(async () => {
      throw new Error('away');
    });
    await assert.rejects(failing.identity.authenticate(token, NOW_MS), /could not be asked/);
  });
  it('without a token nobody is asked, and nobody gets in', async () => {
    const never = review(async () => ({ status: { authenticated: true, user, audiences: ['a'] } }));
    assert.equal(await never.identity.authenticate(undefined, NOW_MS), undefined);
    assert.equal(never.asked(), 0);
  });
});
