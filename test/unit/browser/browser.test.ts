import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { noBrowserHeaders } from '../../../src/router/browser/browser-headers.ts';
import { cookiesUpstream, credentialCookie, credentialIn, isOurCookie } from '../../../src/router/browser/cookies.ts';
import { refusedAcrossOrigins } from '../../../src/router/browser/cross-site.ts';
import { ownHostOf } from '../../../src/router/browser/own-origin.ts';
import { scanHeaders } from '../../../src/router/forward/request-headers.ts';
import { type RewriteContext, responseHeaders } from '../../../src/router/forward/response-headers.ts';

describe('requests of other origins, where the right comes by itself', () => {
  const own = 'https://box.example.com';
  const rules: [
    site: string | undefined,
    origin: string | undefined,
    how: 'read' | 'write' | 'socket' | 'click',
    allowed: boolean,
  ][] = [
    [undefined, undefined, 'write', true],
    ['same-origin', own, 'write', true],
    ['same-origin', undefined, 'read', true],
    ['same-origin', own, 'socket', true],
    ['same-origin', 'https://as-seen-before-a-proxy.test', 'write', true],
    ['none', undefined, 'click', true],
    ['cross-site', undefined, 'click', true],
    ['same-site', undefined, 'click', true],
    ['cross-site', undefined, 'read', false],
    ['same-site', undefined, 'read', false],
    ['cross-site', 'https://evil.test', 'write', false],
    ['same-site', 'https://other.example.com', 'write', false],
    ['same-site', 'https://other.example.com', 'socket', false],
    [undefined, 'https://evil.test', 'socket', false],
    [undefined, 'https://evil.test', 'write', false],
    [undefined, own, 'socket', true],
    [undefined, 'null', 'write', false],
    ['cross-site', 'null', 'socket', false],
    [undefined, 'https://box.example.com.evil.test', 'write', false],
    [undefined, 'https://box.example.com:8443', 'write', false],
    ['cross-site', 'https://portal.example.org', 'write', true],
  ];
  for (const [site, origin, how, allowed] of rules)
    it(`${how}, Sec-Fetch-Site ${site}, Origin ${origin}: ${allowed ? 'goes on' : 'refused'}`, () => {
      const navigates = how === 'click' ? { mode: 'navigate', dest: 'document' } : {};
      const browser = { ...noBrowserHeaders(), site, origin, ...navigates };
      const request = { method: how === 'write' ? 'POST' : 'GET', host: 'box.example.com', upgrade: how === 'socket' };
      const refusal = refusedAcrossOrigins(browser, request, ['https://portal.example.org']);
      assert.equal(refusal === undefined, allowed, refusal);
    });
});

describe('cookies of ours', () => {
  it('are Secure and of one host, save on this machine', () => {
    const set = (host: string, path: string, encrypted = false) =>
      credentialCookie('session', 'v', { host, path }, encrypted, 9);
    assert.equal(
      set('box.example.com', '/'),
      '__Host-sandbox-router=v; Path=/; Max-Age=9; HttpOnly; SameSite=Lax; Secure',
    );
    assert.match(set('example.com', '/box.team'), /^__Secure-sandbox-router=v; Path=\/box\.team; .*; Secure$/);
    assert.equal(set('box.localhost:8080', '/'), 'sandbox-router=v; Path=/; Max-Age=9; HttpOnly; SameSite=Lax');
    assert.match(set('box.localhost:8443', '/', true), /^__Host-.*Secure$/);
  });
  it('without a prefix are believed on this machine alone', () => {
    assert.equal(credentialIn('session', 'a=1; sandbox-router=v', 'box.localhost:1'), 'v');
    assert.equal(credentialIn('session', 'sandbox-router=v', 'box.example.com'), undefined);
    assert.equal(credentialIn('session', 'sandbox-router=x; __Host-sandbox-router=v', 'box.localhost'), 'v');
    assert.equal(credentialIn('token', 'sandbox-router=v', 'localhost'), undefined);
  });
  for (const [cookie, ours] of [
    ['sandbox-router=x', true],
    [' Sandbox-Router=x', true],
    ['=sandbox-router=x', true],
    ['__Host-sandbox-router=x', true],
    ['__secure-sandbox-router-token=x', true],
    ['sandbox-router.team.box.a=x', true],
    ['session=sandbox-router', false],
    ['my-sandbox-router=x', false],
  ] as const)
    it(`${JSON.stringify(cookie)} is ${ours ? 'ours' : "the sandbox's"}`, () =>
      assert.equal(isOurCookie(cookie), ours));
  it('never go on, nor those of other sandboxes', () => {
    const sent = 'a=1; sandbox-router=s; sandbox-router.team.box.id=7; sandbox-router.team.other.id=8';
    assert.equal(cookiesUpstream(sent, undefined), 'a=1');
    assert.equal(cookiesUpstream(sent, 'sandbox-router.team.box.'), 'id=7');
    assert.equal(cookiesUpstream('sandbox-router=s', undefined), undefined);
  });
});

describe('headers of clients', () => {
  it('are looked at for browsers only where there are any', () => {
    assert.equal(scanHeaders(['Host', 'x', 'Cookie', 'a=1', 'Accept', '*/*']).browser, undefined);
    const { browser, upstream } = scanHeaders(['Cookie', '__Host-sandbox-router=s; a=1', 'Sec-Fetch-Site', 'none']);
    assert.equal(browser?.cookie, '__Host-sandbox-router=s; a=1');
    assert.deepEqual(upstream, ['Sec-Fetch-Site', 'none'], 'a cookie of ours waits');
  });
});

describe('answers', () => {
  const rewritten = (headers: Record<string, string>, context: Partial<RewriteContext>) => {
    const base: RewriteContext = { prefix: '', host: 'h', ownOrigin: false, browser: undefined };
    const flat = responseHeaders(Object.entries(headers).flat(), { ...base, ...context });
    const pairs: string[] = [];
    for (let index = 0; index < flat.length; index += 2) pairs.push(`${flat[index]}: ${flat[index + 1]}`);
    return pairs;
  };
  const isolated = { namespace: 'team', sandbox: 'box', isolated: true };
  const policy = 'content-security-policy: sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads';
  const answers: [
    what: string,
    headers: Record<string, string>,
    context: Partial<RewriteContext>,
    expected: string[],
  ][] = [
    [
      'of APIs go as they came',
      { 'clear-site-data': '"*"', 'set-cookie': 'a=1; Domain=x' },
      {},
      ['clear-site-data: "*"', 'set-cookie: a=1; Domain=x'],
    ],
    ['never set cookies of ours', { 'Set-Cookie': '__Host-sandbox-router=x; Path=/' }, {}, []],
    [
      'on an own origin reach no other',
      { 'set-cookie': 'a=1; Domain=example.com; Path=/x' },
      { ownOrigin: true },
      ['set-cookie: a=1; Path=/x'],
    ],
    [
      'on an own origin clear no cookies',
      { 'clear-site-data': '"cookies", "storage"' },
      { ownOrigin: true, browser: { ...isolated, isolated: false } },
      ['clear-site-data:  "storage"'],
    ],
    [
      'on an own origin clear nothing, if it would be all',
      { 'clear-site-data': '"*"' },
      { ownOrigin: true, browser: { ...isolated, isolated: false } },
      [],
    ],
    [
      'in path form are isolated for browsers',
      { 'content-type': 'text/html' },
      { prefix: '/box', browser: isolated },
      ['content-type: text/html', policy],
    ],
    [
      'keep their own policy beside it',
      { 'content-security-policy': "default-src 'self'" },
      { prefix: '/box', browser: isolated },
      ["content-security-policy: default-src 'self'", policy],
    ],
    [
      'in path form speak for no host',
      {
        'service-worker-allowed': '/',
        'clear-site-data': '"*"',
        'alt-svc': 'h3=":1"',
        nel: '{}',
        'report-to': '{}',
        'strict-transport-security': 'max-age=1',
      },
      { prefix: '/box', browser: isolated },
      [policy],
    ],
    [
      'in path form rename cookies',
      { 'set-cookie': 'id=1; Domain=h; Path=/a' },
      { prefix: '/box', browser: isolated },
      ['set-cookie: sandbox-router.team.box.id=1; Path=/box/a', policy],
    ],
  ];
  for (const [what, headers, context, expected] of answers)
    it(what, () => assert.deepEqual(rewritten(headers, context), expected));
});

describe("a sandbox's own origin", () => {
  for (const [parts, expected] of [
    [{ sandbox: 'box', namespace: undefined, port: undefined }, 'box.example.com'],
    [{ sandbox: 'box', namespace: 'team', port: 3000 }, 'box--team--3000.example.com'],
    [{ sandbox: 'box', namespace: undefined, port: 3000 }, undefined],
    [{ sandbox: 'a--b', namespace: 'team', port: undefined }, undefined],
    [{ sandbox: 'b'.repeat(60), namespace: 'team', port: undefined }, undefined],
  ] as const)
    it(`of ${JSON.stringify(parts)} is ${expected}`, () => assert.equal(ownHostOf(parts, 'example.com'), expected));
});
