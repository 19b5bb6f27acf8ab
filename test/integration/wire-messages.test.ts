import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import type { RawHead } from '../support/raw-connection.ts';
import { until } from '../support/until.ts';
import { startWire, type Wire } from '../support/wire.ts';

/** Fields that a router between two hops adds, changes or keeps to itself. */
const OWN =
  /^(host|authorization|connection|keep-alive|date|x-forwarded-.*|forwarded|content-length|transfer-encoding)$/i;
const endToEnd = ({ fields }: RawHead) => fields.filter(([name]) => !OWN.test(name)).map((field) => field.join(': '));
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('HTTP messages, byte by byte', { timeout: 180_000 }, () => {
  let wire: Wire;
  before(async () => {
    wire = await startWire();
  });
  afterEach(() => wire.tidy());
  after(() => wire?.close());

  describe('fields', () => {
    it('of a request keep their case, order, number and bytes', async () => {
      const fields = [
        'X-Second: 2',
        'x-first: 1',
        'X-SECOND: 3',
        'Accept: a,b',
        'Accept:  c',
        'X-Bytes: caf\xe9 \xff',
        'X-Empty:',
      ];
      const { sandbox } = await wire.exchange('GET /a%2Fb//../c?q=%20&&', fields);
      const head = await sandbox.takeHead();
      assert.equal(head.line, 'GET /a%2Fb//../c?q=%20&& HTTP/1.1');
      assert.deepEqual(endToEnd(head), [
        'X-Second: 2',
        'x-first: 1',
        'X-SECOND: 3',
        'Accept: a,b',
        'Accept: c',
        'X-Bytes: caf\xe9 \xff',
        'X-Empty: ',
      ]);
      assert.deepEqual(head.values('authorization'), [], 'the credential stays with the router');
    });

    it('of an answer keep their case, order, number and bytes, as does the reason', async () => {
      const { client, sandbox } = await wire.exchange('GET /');
      await sandbox.takeHead();
      sandbox.write(
        'HTTP/1.1 299 As You Like It\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\nVary: a, b\r\nvary: c\r\nX-Bytes: \xe9\xff\r\nContent-Length: 2\r\n\r\nok',
      );
      const head = await client.takeHead();
      assert.equal(head.line, 'HTTP/1.1 299 As You Like It');
      assert.deepEqual(endToEnd(head), ['X-B: 1', 'x-a: 2', 'X-B: 3', 'Vary: a, b', 'vary: c', 'X-Bytes: \xe9\xff']);
      assert.deepEqual(head.values('content-length'), ['2']);
      assert.equal(await client.take(2), 'ok');
    });

    for (const [reason, bytes] of [
      ['empty', ''],
      ['in UTF-8', Buffer.from('Schön', 'utf8').toString('latin1')],
      ['in Latin-1', 'Sch\xf6n'],
    ] as const)
      it(`a reason that is ${reason} does no harm`, async () => {
        const { client, sandbox } = await wire.exchange('GET /');
        await sandbox.takeHead();
        sandbox.write(`HTTP/1.1 200 ${bytes}\r\nContent-Length: 2\r\n\r\nok`);
        assert.match((await client.takeHead()).line, /^HTTP\/1\.1 200/);
        assert.equal(await client.take(2), 'ok');
      });

    it('for one hop alone stay on it, in both directions, those that Connection lists included', async () => {
      const hop = ['Keep-Alive: timeout=9', 'Proxy-Connection: keep-alive', 'X-Hop: 1', 'x-other-hop: 2', 'X-HOP: 3'];
      const { client, sandbox } = await wire.exchange('GET /', [
        'Connection: x-hop, keep-alive',
        'Connection: X-Other-Hop',
        ...hop,
        'TE: trailers, gzip',
        'X-End: 4',
      ]);
      const request = await sandbox.takeHead();
      assert.deepEqual(endToEnd(request), ['te: trailers', 'X-End: 4']);
      sandbox.write(
        `HTTP/1.1 200 OK\r\nConnection: x-hop\r\nconnection: keep-alive, X-Other-Hop\r\n${hop.join('\r\n')}\r\nX-End: 4\r\nContent-Length: 2\r\n\r\nok`,
      );
      const answer = await client.takeHead();
      assert.deepEqual(endToEnd(answer), ['X-End: 4']);
      assert.doesNotMatch(answer.values('connection').join(), /hop/i);
      assert.deepEqual(
        answer.values('keep-alive').filter((value) => value === 'timeout=9'),
        [],
      );
    });

    it('that Connection may not list, as they frame the message or name its way, are kept', async () => {
      const fields = ['Connection: content-length, host, x-forwarded-for', 'Content-Length: 2'];
      const { sandbox } = await wire.exchange('POST /', fields, 'hi');
      const head = await sandbox.takeHead();
      assert.equal(head.values('host').length, 1);
      assert.equal(head.values('x-forwarded-for').length, 1);
      const framed =
        head.values('content-length').length === 1 ? sandbox.take(2) : sandbox.takeChunked().then(({ data }) => data);
      assert.equal(await framed, 'hi');
    });
  });

  describe('interim answers', () => {
    it('a client that waits for 100 Continue gets one, then its body goes on', async () => {
      const { client, sandbox } = await wire.exchange('PUT /', ['Expect: 100-continue', 'Content-Length: 4']);
      assert.equal((await client.takeHead()).line, 'HTTP/1.1 100 Continue');
      client.write('body');
      await sandbox.takeHead();
      assert.equal(await sandbox.take(4), 'body');
      sandbox.write(OK);
      assert.match((await client.takeHead()).line, / 200 /);
    });

    it('one that does not wait for it is served as well', async () => {
      const { client, sandbox } = await wire.exchange('PUT /', ['Expect: 100-Continue', 'Content-Length: 4'], 'body');
      await sandbox.takeHead();
      assert.equal(await sandbox.take(4), 'body');
      sandbox.write(OK);
      await client.wait('the final answer', () => client.pending.includes('HTTP/1.1 200 OK'));
    });

    it('any other expectation is refused with 417, and the sandbox hears nothing', async () => {
      const upstream = await wire.upstream();
      const client = await wire.client();
      client.write(wire.head('PUT /', upstream.port, ['Expect: the-unexpected', 'Content-Length: 4']));
      assert.match((await client.takeHead()).line, / 417 /);
      assert.equal(upstream.connections.length, 0);
    });

    for (const interim of [
      ['102 Processing', []],
      [
        '103 Early Hints',
        ['Link: </style.css>; rel=preload; as=style', 'link: </script.js>; rel=preload', 'X-Hint: 1'],
      ],
      ['103 Early Hints', ['Link: <//odd>;;rel = "x"']],
      ['104 Upload Resumption Supported', ['Location: https://elsewhere.test/upload']],
    ] as const)
      it(`${interim[0]} that nobody asked for goes by at once, and the final answer follows: ${interim[1].join() || 'no fields'}`, async () => {
        const [status, fields] = interim;
        const { client, sandbox } = await wire.exchange('GET /');
        await sandbox.takeHead();
        sandbox.write(`HTTP/1.1 ${status}\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n`);
        {
          const head = await client.takeHead();
          assert.equal(head.line, `HTTP/1.1 ${status}`);
          assert.deepEqual(
            head.fields.map((field) => field.join(': ')),
            fields,
          );
        }
        sandbox.write(OK);
        assert.match((await client.takeHead()).line, / 200 OK/);
        assert.equal(await client.take(2), 'ok');
      });

    it('none goes to a client of HTTP/1.0', async () => {
      const upstream = await wire.upstream();
      const client = await wire.client();
      client.write(wire.head('GET /', upstream.port).replace('HTTP/1.1', 'HTTP/1.0'));
      const sandbox = await upstream.accept();
      await sandbox.takeHead();
      sandbox.write(`HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n${OK}`);
      assert.match((await client.takeHead()).line, / 200 /);
      assert.equal(await client.takeRest(), 'ok');
    });
  });

  describe('bodies', () => {
    it('in chunks with extensions arrive whole, framed anew: from the client', async () => {
      const { client, sandbox } = await wire.exchange(
        'POST /',
        ['Transfer-Encoding: chunked'],
        '3;name="va;lue"\r\nabc\r\n000002\r\nde\r\n0;last\r\n\r\n',
      );
      const head = await sandbox.takeHead();
      const [length] = head.values('content-length');
      assert.equal(
        length === undefined ? (await sandbox.takeChunked()).data : await sandbox.take(Number(length)),
        'abcde',
      );
      sandbox.write(OK);
      assert.match((await client.takeHead()).line, / 200 /);
    });

    it('in chunks with extensions arrive whole, framed anew, with their trailers: from the sandbox', async () => {
      const { client, sandbox } = await wire.exchange('GET /', ['TE: trailers']);
      await sandbox.takeHead();
      sandbox.write(
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n3;name=value\r\nabc\r\n000002\r\nde\r\n0;last\r\nX-Sum: 5\r\nx-sum: \xe9\r\n\r\n',
      );
      const head = await client.takeHead();
      assert.deepEqual(head.values('transfer-encoding'), ['chunked']);
      assert.deepEqual(head.values('trailer'), ['X-Sum']);
      assert.deepEqual(await client.takeChunked(), { data: 'abcde', trailers: 'X-Sum: 5\r\nx-sum: \xe9\r\n' });
    });

    it('in chunks go on with their trailers from the client, but those that may be none', async () => {
      const { client, sandbox } = await wire.exchange(
        'POST /',
        ['Transfer-Encoding: chunked', 'Trailer: X-Sum'],
        '3\r\nabc\r\n0\r\nX-Sum: 5\r\nHost: evil\r\nX-Forwarded-For: 1.2.3.4\r\nAuthorization: a\r\nx-sum: \xe9\r\n\r\n',
      );
      await sandbox.takeHead();
      assert.deepEqual(await sandbox.takeChunked(), { data: 'abc', trailers: 'X-Sum: 5\r\nx-sum: \xe9\r\n' });
      sandbox.write(OK);
      assert.match((await client.takeHead()).line, / 200 /);
    });

    it('with a length keep it', async () => {
      const { client, sandbox } = await wire.exchange('POST /', ['Content-Length: 5'], 'abcde');
      const head = await sandbox.takeHead();
      assert.deepEqual([head.values('content-length'), head.values('transfer-encoding')], [['5'], []]);
      assert.equal(await sandbox.take(5), 'abcde');
      sandbox.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nvwxyz');
      const answer = await client.takeHead();
      assert.deepEqual([answer.values('content-length'), answer.values('transfer-encoding')], [['5'], []]);
      assert.equal(await client.take(5), 'vwxyz');
    });

    it('of a GET go on too', async () => {
      const { client, sandbox } = await wire.exchange('GET /search', ['Content-Length: 5'], 'abcde');
      await sandbox.takeHead();
      assert.equal(await sandbox.take(5), 'abcde');
      sandbox.write(OK);
      assert.match((await client.takeHead()).line, / 200 /);
    });

    it('that end with the connection, as of HTTP/1.0 servers, arrive whole', async () => {
      const { client, sandbox } = await wire.exchange('GET /');
      await sandbox.takeHead();
      sandbox.write('HTTP/1.0 200 OK\r\n\r\nabc');
      sandbox.socket.end('de');
      await client.takeHead();
      assert.equal((await client.takeChunked()).data, 'abcde');
    });

    it('of unknown length reach a client of HTTP/1.0 unframed', async () => {
      const upstream = await wire.upstream();
      const client = await wire.client();
      client.write(wire.head('GET /', upstream.port).replace('HTTP/1.1', 'HTTP/1.0'));
      const sandbox = await upstream.accept();
      assert.match((await sandbox.takeHead()).line, /HTTP\/1\.1$/);
      sandbox.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n');
      assert.deepEqual((await client.takeHead()).values('transfer-encoding'), []);
      assert.equal(await client.takeRest(), 'abc');
    });

    for (const [method, answer, expected] of [
      ['HEAD', '200 OK\r\nContent-Length: 1000', ['1000']],
      ['HEAD', '200 OK\r\nTransfer-Encoding: chunked', []],
      ['HEAD', '404 Not Found', []],
      ['GET', '204 No Content', []],
      ['GET', '304 Not Modified\r\nETag: "x"\r\nContent-Length: 1000', ['1000']],
      ['GET', '304 Not Modified\r\nETag: "x"', []],
      ['GET', '200 OK\r\nContent-Length: 0', ['0']],
    ] as const)
      it(`none follows ${method} with ${answer.replaceAll('\r\n', ', ')}, and the connections go on`, async () => {
        const { client, upstream, sandbox } = await wire.exchange(`${method} /`);
        await sandbox.takeHead();
        sandbox.write(`HTTP/1.1 ${answer}\r\n\r\n`);
        const head = await client.takeHead();
        assert.equal(head.line, `HTTP/1.1 ${answer.split('\r\n')[0]}`);
        assert.deepEqual(head.values('content-length'), expected);
        client.write(wire.head('GET /next', upstream.port));
        const answering = await until('the next request', () =>
          upstream.connections.findLast(({ pending }) => pending.length > 0),
        );
        assert.match((await answering.takeHead()).line, /\/next/);
        answering.write(OK);
        assert.match((await client.takeHead()).line, / 200 OK/);
        assert.equal(await client.take(2), 'ok');
      });

    it('in part stay so: Range, Content-Range and 206 go by', async () => {
      const { client, sandbox } = await wire.exchange('GET /file', ['Range: bytes=2-3, 5-', 'If-Range: "x"']);
      const request = await sandbox.takeHead();
      assert.deepEqual(endToEnd(request), ['Range: bytes=2-3, 5-', 'If-Range: "x"']);
      sandbox.write(
        'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-3/10\r\nAccept-Ranges: bytes\r\nContent-Length: 2\r\n\r\ncd',
      );
      const answer = await client.takeHead();
      assert.deepEqual(
        [answer.line, answer.values('content-range')],
        ['HTTP/1.1 206 Partial Content', ['bytes 2-3/10']],
      );
      assert.equal(await client.take(2), 'cd');
    });

    it('any method goes by', async () => {
      const { client, sandbox } = await wire.exchange('PROPFIND /', ['Depth: 1', 'Content-Length: 3'], '<a>');
      assert.match((await sandbox.takeHead()).line, /^PROPFIND \/ /);
      assert.equal(await sandbox.take(3), '<a>');
      sandbox.write('HTTP/1.1 207 Multi-Status\r\nContent-Length: 0\r\n\r\n');
      assert.match((await client.takeHead()).line, / 207 /);
    });

    it('a connection on either side carries one request after the other', async () => {
      const { client, upstream, sandbox } = await wire.exchange('GET /0');
      for (let index = 0; index < 5; index++) {
        if (index > 0) client.write(wire.head(`GET /${index}`, upstream.port));
        assert.match((await sandbox.takeHead()).line, new RegExp(`/${index} `));
        sandbox.write(OK);
        await client.takeHead();
        assert.equal(await client.take(2), 'ok');
      }
      assert.equal(upstream.connections.length, 1);
    });

    it('requests that a client sends ahead are answered in their order', async () => {
      const upstream = await wire.upstream(async (sandbox) => {
        for (;;) {
          const path = (await sandbox.takeHead()).line.split(' ')[1] ?? '';
          // The first takes longest.
          setTimeout(
            () => sandbox.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`),
            path === '/0' ? 100 : 0,
          );
        }
      });
      const client = await wire.client();
      client.write([0, 1, 2].map((index) => wire.head(`GET /${index}`, upstream.port)).join(''));
      for (let index = 0; index < 3; index++) {
        await client.takeHead();
        assert.equal(await client.take(2), `/${index}`);
      }
    });
  });
});
