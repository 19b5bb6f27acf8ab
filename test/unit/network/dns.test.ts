import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { resolverText } from '../../../src/engine/controllers/pod/resolver-file.ts';
import { matchingNames, parseEgressNames } from '../../../src/engine/network/dns/egress-names.ts';
import {
  addressesIn,
  DnsFormatError,
  isAnswerTo,
  readQuery,
  writeAnswer,
} from '../../../src/engine/network/dns/message.ts';
import type { Pod, PodSpec } from '../../../src/kubernetes/index.ts';

/** A query for the address of a name. */
function query(name: string, { flags = 0x0100, questions = 1 } = {}): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(0x1234, 0);
  header.writeUInt16BE(flags, 2);
  header.writeUInt16BE(questions, 4);
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([header, ...labels, Buffer.from([0, 0, 1, 0, 1])]);
}

describe('DNS messages', () => {
  it('a query is read, in lower case', () => {
    assert.deepEqual(readQuery(query('API.Example.com')), {
      id: 0x1234,
      name: 'api.example.com',
      type: 1,
      class: 1,
      end: 33,
    });
  });
  for (const [name, message] of [
    ['a response', query('a.b', { flags: 0x8100 })],
    ['an update', query('a.b', { flags: 0x2800 })],
    ['two questions', query('a.b', { questions: 2 })],
    ['no question', query('a.b', { questions: 0 })],
    ['half a message', query('a.b').subarray(0, 14)],
    ['a name that leads to itself', Buffer.concat([query('a').subarray(0, 12), Buffer.from([0xc0, 12, 0, 1, 0, 1])])],
  ] as const)
    it(`${name} is no query`, () => {
      assert.throws(() => readQuery(message), DnsFormatError);
    });
  it('an answer that is written gives its addresses back', () => {
    const asked = query('api.example.com');
    const addresses = [
      { address: '192.0.2.1', ttlSeconds: 60 },
      { address: '192.0.2.2', ttlSeconds: 5 },
    ];
    const answer = writeAnswer(asked, readQuery(asked), 0, addresses);
    assert.deepEqual(addressesIn(answer), addresses);
    assert.equal(isAnswerTo(answer, readQuery(asked), 0x1234), true);
    assert.equal(isAnswerTo(answer, readQuery(asked), 0x1235), false);
    assert.equal(isAnswerTo(answer, readQuery(query('other.example.com')), 0x1234), false);
  });
  it('addresses of other names in an answer count for nothing', () => {
    const asked = query('api.example.com');
    const answer = writeAnswer(asked, readQuery(asked), 0, [{ address: '192.0.2.1', ttlSeconds: 60 }]);
    const stranger = query('evil.example.org').subarray(12, -4);
    const record = answer.subarray(readQuery(asked).end + 2);
    const forged = Buffer.concat([answer.subarray(0, readQuery(asked).end), stranger, record]);
    assert.deepEqual(addressesIn(forged), []);
  });
  it('no message makes it do anything but throw its own error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const read of [readQuery, addressesIn])
          try {
            read(Buffer.from(bytes));
          } catch (error) {
            assert.ok(error instanceof DnsFormatError || error instanceof RangeError, String(error));
          }
      }),
    );
  });
});

describe('names that may be called', () => {
  const accepted: [text: string, names: object[]][] = [
    ['api.example.com', [{ name: 'api.example.com' }]],
    ['API.example.com.', [{ name: 'api.example.com' }]],
    ['*.example.com:443, a.b', [{ name: '*.example.com', port: 443 }, { name: 'a.b' }]],
    [' a.b\n c.d ', [{ name: 'a.b' }, { name: 'c.d' }]],
    ['', []],
  ];
  for (const [text, names] of accepted)
    it(`reads ${JSON.stringify(text)}`, () => assert.deepEqual(parseEgressNames(text), names));
  for (const text of [
    '*',
    '*.com.*',
    'a*.com',
    'https://a.b',
    'a.b:0',
    'a.b:70000',
    'a.b:x',
    'a.b:1:2',
    '192.0.2.1',
    'localhost',
    '-a.b',
    'a..b',
  ])
    it(`refuses ${JSON.stringify(text)}, naming it`, () =>
      assert.throws(
        () => parseEgressNames(`ok.example.com ${text}`),
        (error: Error) => error.message.includes(`"${text}"`),
      ));
  for (const [asked, meets] of [
    ['a.example.com', true],
    ['b.a.example.com', true],
    ['example.com', false],
    ['notexample.com', false],
    ['a.example.com.evil.org', false],
  ] as const)
    it(`*.example.com ${meets ? 'means' : 'does not mean'} ${asked}`, () =>
      assert.equal(matchingNames(parseEgressNames('*.example.com'), asked).length > 0, meets));
});

describe('resolv.conf of a pod', () => {
  const text = (spec: object, nameServer: string | undefined = '10.64.0.1') =>
    resolverText({ metadata: { name: 'a', namespace: 'ns' }, spec: spec as PodSpec } as Pod, nameServer);
  it('names the proxy and the domains of the cluster', () =>
    assert.equal(
      text({}),
      'nameserver 10.64.0.1\nsearch ns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n',
    ));
  it('takes dnsConfig alone for dnsPolicy None', () =>
    assert.equal(
      text({
        dnsPolicy: 'None',
        dnsConfig: { nameservers: ['192.0.2.53'], searches: ['x.org'], options: [{ name: 'edns0' }] },
      }),
      'nameserver 192.0.2.53\nsearch x.org\noptions edns0\n',
    ));
  it('leaves the cluster out for dnsPolicy Default', () =>
    assert.equal(text({ dnsPolicy: 'Default' }), 'nameserver 10.64.0.1\n'));
  it('lets nobody write lines of his own', () =>
    assert.doesNotMatch(
      text({ dnsPolicy: 'None', dnsConfig: { searches: ['a\nnameserver 6.6.6.6'] } }),
      /^nameserver/m,
    ));
});
