import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { scanHeaders } from '../../../src/router/forward/index.ts';
import { asleepRules } from '../../../src/router/table/asleep-rules.ts';
import { createIntentReader, type Intent, withDefaults } from '../../../src/router/wake/intent.ts';

const CHROME = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36';

describe('the intent of a request', () => {
  const reader = createIntentReader(withDefaults({ unfurlers: ['default'], monitors: ['default', 'OurProbe'] }));
  const rules = asleepRules(undefined, '{"/live": {}}');
  const cases: [what: string, method: string, path: string, headers: string[], intent: Intent][] = [
    ['a browser', 'GET', '/', ['User-Agent', CHROME], 'use'],
    ['no User-Agent at all', 'GET', '/', [], 'use'],
    ['POST', 'POST', '/execute', ['User-Agent', 'python-requests/2.32'], 'use'],
    ['a prefetch', 'GET', '/', ['Sec-Purpose', 'prefetch', 'User-Agent', CHROME], 'prefetch'],
    ['a prerender', 'GET', '/', ['sec-purpose', 'prefetch;prerender'], 'prefetch'],
    ['an old prefetch of Chrome', 'GET', '/', ['Purpose', 'prefetch'], 'prefetch'],
    ['an old prefetch of Firefox', 'GET', '/', ['X-Moz', 'prefetch'], 'prefetch'],
    ['Safari filling its top sites', 'GET', '/', ['X-Purpose', 'preview'], 'prefetch'],
    ['another purpose', 'GET', '/', ['Purpose', 'work'], 'use'],
    [
      'a link preview in Slack',
      'GET',
      '/',
      ['User-Agent', 'Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)'],
      'unfurl',
    ],
    ['a crawler, in another case', 'GET', '/', ['user-agent', 'mozilla/5.0 (compatible; googlebot/2.1)'], 'unfurl'],
    ['a monitor', 'GET', '/', ['User-Agent', 'Mozilla/5.0+(compatible; UptimeRobot/2.0)'], 'monitor'],
    ['a monitor that POSTs', 'POST', '/', ['User-Agent', 'kube-probe/1.34'], 'monitor'],
    ['a monitor of our own', 'GET', '/', ['User-Agent', 'ourprobe/7'], 'monitor'],
    [
      'a CORS preflight',
      'OPTIONS',
      '/',
      ['Origin', 'https://a.test', 'Access-Control-Request-Method', 'PUT'],
      'preflight',
    ],
    ['OPTIONS that is none', 'OPTIONS', '/', ['Origin', 'https://a.test'], 'use'],
    ['GET with the header of a preflight', 'GET', '/', ['Access-Control-Request-Method', 'PUT'], 'use'],
    ['HEAD', 'HEAD', '/', [], 'head'],
    ['the favicon', 'GET', '/favicon.ico', [], 'favicon'],
    ['the favicon with a query', 'GET', '/favicon.ico?v=2', [], 'favicon'],
    ['a favicon elsewhere', 'GET', '/app/favicon.ico', [], 'use'],
    ['robots.txt', 'GET', '/robots.txt', [], 'robots'],
    ['a path with a fixed answer', 'GET', '/live?x=1', ['User-Agent', 'curl/8'], 'health'],
    ['POST to such a path', 'POST', '/live', [], 'use'],
  ];
  for (const [what, method, path, headers, intent] of cases)
    it(`of ${what} is ${intent}`, () => assert.equal(reader.read(method, path, scanHeaders(headers), rules), intent));

  it('is use where the sandbox says so', () => {
    const head = (wakeOn: string) => reader.read('HEAD', '/', scanHeaders([]), asleepRules(wakeOn, undefined));
    assert.equal(head('favicon, head'), 'use');
    assert.equal(head('all'), 'use');
    assert.equal(head('favicon'), 'head');
  });

  it('is told again and again for clients that call themselves something new each time', () => {
    for (let n = 0; n < 10_000; n++)
      assert.equal(reader.read('GET', '/', scanHeaders(['User-Agent', `Pingdom ${n}`]), undefined), 'monitor');
  });
});

describe('rules of a sandbox that is asleep', () => {
  it('are none without annotations', () => assert.equal(asleepRules(undefined, undefined), undefined));

  it('give fixed answers', () => {
    const rules = asleepRules(
      undefined,
      '{"/healthz": {"status": 204}, "/": {"contentType": "application/json", "body": "{}"}}',
    );
    assert.deepEqual(rules?.answers['/healthz'], {
      status: 204,
      contentType: 'text/plain; charset=utf-8',
      body: '',
    });
    assert.deepEqual(rules?.answers['/'], { status: 200, contentType: 'application/json', body: '{}' });
    assert.equal(rules?.fault, undefined);
  });

  const refused: [answers: string, reason: RegExp][] = [
    ['{', /is not JSON/],
    ['[]', /must be a JSON object/],
    ['{"healthz": {}}', /path "healthz": it must begin with \//],
    ['{"/a?b": {}}', /no query/],
    ['{"/a": 1}', /of \/a must be an object/],
    ['{"/a": {"code": 200}}', /"code": only status, contentType and body/],
    ['{"/a": {"status": 101}}', /status of 200 to 599/],
    ['{"/a": {"contentType": "text/plain\\r\\nx: y"}}', /contentType such as/],
    ['{"/a": {"body": {}}}', /body that is a text/],
    [`{"/a": {"body": "${'x'.repeat(9000)}"}}`, /at most 8192/],
    [JSON.stringify(Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`/${n}`, {}]))), /more than 16 paths/],
    [`{"/a": "${'x'.repeat(40_000)}"}`, /more than 32768 characters/],
  ];
  for (const [answers, reason] of refused)
    it(`are told what is wrong with ${answers.slice(0, 40)}`, () => {
      const rules = asleepRules('head', answers);
      assert.match(rules?.fault ?? '', reason);
      assert.deepEqual(rules?.answers, {});
      assert.ok(rules?.wakeOn.includes('head'), 'the other annotation is in force');
    });

  it('name an intent that is none', () =>
    assert.match(asleepRules('prefetsch', undefined)?.fault ?? '', /names "prefetsch", which is none of prefetch/));
});
