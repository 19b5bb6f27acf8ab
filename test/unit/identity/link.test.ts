import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isBelow, isPath, type LinkClaims, type Narrowing } from '../../../src/router/identity/link/link-claims.ts';
import { linkKey, mintLink, narrowLink, verifyLink } from '../../../src/router/identity/link/link-token.ts';
import { createLinkAuthenticator, createLinks, sessionCredential } from '../../../src/router/identity/link/links.ts';
import { refusedByLink } from '../../../src/router/identity/link/refusal.ts';
import { createTenants } from '../../../src/router/policy/tenants.ts';

const key = linkKey(Buffer.alloc(32, 'k'), 'one');
const nowMs = 1_800_000_000_000;
const claims: LinkClaims = {
  id: 'link-1',
  namespace: 'team',
  sandbox: 'box',
  tenant: 'team',
  expiresAtSeconds: 1_800_000_600,
  openBySeconds: undefined,
  open: undefined,
  port: undefined,
  pathPrefix: undefined,
  methods: undefined,
  mayWake: true,
  oneUse: false,
};
const token = mintLink(key, 'link', claims);
const read = (text: string, keys = [key], atMs = nowMs) => verifyLink(keys, 'link', text, atMs);

describe('links', () => {
  it('say what was minted, until they expire', () => {
    assert.deepEqual(read(token), claims);
    assert.deepEqual(read(token, [key], claims.expiresAtSeconds * 1000 - 1), claims);
    assert.equal(read(token, [key], claims.expiresAtSeconds * 1000), 'expired');
  });
  it('keep all that narrows them', () => {
    const full = { ...claims, open: '/a?b=1', port: 3000, pathPrefix: '/a/', methods: ['GET'], oneUse: true };
    const most: LinkClaims = { ...full, mayWake: false, openBySeconds: 1_800_000_060 };
    assert.deepEqual(read(mintLink(key, 'link', most)), most);
  });

  const narrowings: [what: string, by: Narrowing[], expected: Partial<LinkClaims> | string][] = [
    ['an earlier end', [{ expiresAtSeconds: 1_800_000_100 }], { expiresAtSeconds: 1_800_000_100 }],
    ['a later end, which changes nothing', [{ expiresAtSeconds: 1_900_000_000 }], {}],
    ['an end that is over', [{ expiresAtSeconds: 1_800_000_000 }], 'expired'],
    ['methods', [{ methods: ['GET', 'POST'] }], { methods: ['GET', 'POST'] }],
    ['fewer methods', [{ methods: ['GET', 'POST'] }, { methods: ['POST', 'PUT'] }], { methods: ['POST'] }],
    ['methods that exclude each other', [{ methods: ['GET'] }, { methods: ['PUT'] }], 'contradiction'],
    ['a port', [{ port: 80 }], { port: 80 }],
    ['another port', [{ port: 80 }, { port: 81 }], 'contradiction'],
    ['a prefix', [{ pathPrefix: '/a' }], { pathPrefix: '/a' }],
    ['a deeper prefix', [{ pathPrefix: '/a/' }, { pathPrefix: '/a/b' }], { pathPrefix: '/a/b' }],
    [
      'a shallower prefix, which changes nothing',
      [{ pathPrefix: '/a/b' }, { pathPrefix: '/a/' }],
      { pathPrefix: '/a/b' },
    ],
    ['another prefix', [{ pathPrefix: '/a' }, { pathPrefix: '/ab' }], 'contradiction'],
    ['one use', [{ oneUse: true }], { oneUse: true }],
    ['no waking', [{ mayWake: false }], { mayWake: false }],
    ['an earlier opening', [{ openBySeconds: 5 }, { openBySeconds: 9 }], { openBySeconds: 5 }],
  ];
  for (const [what, by, expected] of narrowings)
    it(`are narrowed without their key by ${what}`, () => {
      const found = read(by.reduce(narrowLink, token));
      assert.deepEqual(found, typeof expected === 'string' ? expected : { ...claims, ...expected });
    });

  it('rotate: each of several keys is found by its id, and ends with it', () => {
    const newer = linkKey(Buffer.alloc(32, 'n'), 'two');
    const second = mintLink(newer, 'link', claims);
    for (const each of [token, second]) assert.deepEqual(read(each, [newer, key]), claims);
    assert.equal(read(token, [newer]), 'unknown_key');
    assert.equal(read(token.replace('.one.', '.two.'), [newer, key]), 'bad_signature');
  });

  const narrowed = narrowLink(token, { methods: ['GET'] });
  const [version = '', id = '', root = '', caveat = '', signature = ''] = narrowed.split('.');
  const [, , , ownSignature = ''] = token.split('.');
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const wider = encode({ id: 'link-1', ns: 'team', name: 'other', tenant: 'team', exp: 1_900_000_000 });
  const refused: [what: string, token: string, refusal: string][] = [
    ['empty', '', 'malformed'],
    ['truncated', token.slice(0, -1), 'malformed'],
    ['truncated by a part', `${version}.${id}.${root}`, 'malformed'],
    ['without its caveat', `${version}.${id}.${root}.${signature}`, 'bad_signature'],
    [
      'with the caveat gone and the first signature guessed',
      `${version}.${id}.${root}.${'A'.repeat(43)}`,
      'bad_signature',
    ],
    ['with a caveat that nobody signed', `${version}.${id}.${root}.${caveat}.${ownSignature}`, 'bad_signature'],
    ['with another caveat', `${version}.${id}.${root}.${encode({ methods: ['PUT'] })}.${signature}`, 'bad_signature'],
    ['with another root', `${version}.${id}.${wider}.${ownSignature}`, 'bad_signature'],
    ['as a session', token.replace('l1.', 's1.'), 'malformed'],
    ['under a key id with a path', `l1.../../etc/passwd.${root}.${ownSignature}`, 'malformed'],
    ['as a JWT with alg none', `${encode({ alg: 'none' })}.${root}.`, 'malformed'],
    ['huge', `l1.one.${'A'.repeat(5000)}.${ownSignature}`, 'malformed'],
    ['with too many caveats', Array(17).fill({ mayWake: false }).reduce(narrowLink, token), 'malformed'],
    ['with the last bits of the signature set', token.slice(0, -1) + nextCharacter(token.at(-1) ?? ''), 'malformed'],
  ];
  for (const [what, text, refusal] of refused) it(`are refused ${what}`, () => assert.equal(read(text), refusal));

  const notUnderstood = [{ future: true }, { methods: [] }, { methods: ['get'] }, { wake: true }, { port: 0 }, []];
  for (const unknown of notUnderstood)
    it(`are refused with a caveat that is not understood: ${JSON.stringify(unknown)}`, async () => {
      const { createHmac } = await import('node:crypto');
      const part = encode(unknown);
      const signed = createHmac('sha256', Buffer.from(ownSignature, 'base64url')).update(part).digest('base64url');
      assert.equal(read(`${version}.${id}.${root}.${part}.${signed}`), 'malformed');
    });

  it('refuse a key that is too short, or an id that is none', () => {
    assert.throws(() => linkKey(Buffer.from('short'), 'a'), /at least 32 bytes/);
    assert.throws(() => linkKey(Buffer.alloc(32, 'a'), 'a/b'), /1 to 64/);
  });
});

describe('the link authenticator', () => {
  const links = createLinks(() => [key]);
  const authenticator = createLinkAuthenticator(links, createTenants(undefined));
  const authenticate = (credential: string) => authenticator.authenticate(credential, nowMs);

  it('takes links as credentials, and sessions from cookies alone', async () => {
    const session = links.session({ ...claims, oneUse: true });
    const found = await authenticate(sessionCredential(session));
    assert.deepEqual(found?.sandbox, { namespace: 'team', name: 'box' });
    assert.equal(found?.link?.oneUse, false, 'what was opened stays open');
    assert.equal(await authenticate(session), undefined, 'a stolen cookie is no Bearer token');
    assert.equal(await authenticate(sessionCredential(token)), undefined, 'a link is no session');
    assert.deepEqual((await authenticate(token))?.scopes, new Set(['route', 'wake']));
  });
  it('takes the tenant from the configuration: of one that is gone nobody gets in', async () => {
    const without = createLinkAuthenticator(links, createTenants(new Map()));
    assert.equal(await without.authenticate(token, nowMs), undefined);
  });
  it('remembers which were used', () => {
    assert.equal(links.use(claims, nowMs), true);
    assert.equal(links.use(claims, nowMs), false);
    assert.equal(links.use({ ...claims, id: 'another' }, nowMs), true);
  });
});

describe('what a link allows', () => {
  const limited = { ...claims, port: 80, pathPrefix: '/app', methods: ['GET'] };
  const use = { method: 'GET', upgrade: false, target: '/app/x?y=..', port: 80 };
  it('is what it says', () => {
    assert.equal(refusedByLink(limited, use), undefined);
    assert.equal(refusedByLink(limited, { ...use, method: 'HEAD' }), undefined);
    assert.match(refusedByLink(limited, { ...use, port: 81 }) ?? '', /port 80/);
    assert.match(refusedByLink(limited, { ...use, method: 'POST' }) ?? '', /GET alone/);
    assert.match(refusedByLink(limited, { ...use, upgrade: true }) ?? '', /GET alone/);
    assert.match(refusedByLink(limited, { ...use, target: '/apple' }) ?? '', /below \/app/);
  });

  const below: [target: string, expected: boolean][] = [
    ['/app', true],
    ['/app/', true],
    ['/app/x', true],
    ['/app?x=/../', true],
    ['/application', false],
    ['/', false],
    ['/app/..', false],
    ['/app/../x', false],
    ['/app/%2e%2E/x', false],
    ['/app/.%2e/x', false],
    ['/app/..;x=1/y', false],
    ['/app\\..\\x', false],
    ['/app/..%2fx', false],
    ['/app/%252e%252e/x', false],
    ['/app//x', false],
    ['/APP/x', false],
  ];
  for (const [target, expected] of below)
    it(`${target} is ${expected ? '' : 'not '}below /app`, () => assert.equal(isBelow(target, '/app'), expected));

  for (const [text, expected] of [
    ['/', true],
    ['/a?b=c#d', true],
    ['//evil.test/', false],
    ['/\\evil.test', false],
    ['https://evil.test', false],
    ['/a\r\nset-cookie: x', false],
    ['', false],
  ] as const)
    it(`${JSON.stringify(text)} ${expected ? 'can' : "can't"} be where a link leads`, () =>
      assert.equal(isPath(text), expected));
});

/** The character after this one in base64url, whose last bits differ. */
function nextCharacter(character: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return alphabet[alphabet.indexOf(character) + 1] ?? 'A';
}
