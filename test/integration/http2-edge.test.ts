import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:http2';
import { after, afterEach, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { answerOf, type Http2Connection, http2Client, ResetError } from '../support/http2-client.ts';
import { until } from '../support/until.ts';
import { startWire, type Wire } from '../support/wire.ts';

const run = promisify(execFile);
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('HTTP/2 at the edge, to sandboxes of HTTP/1.1', { timeout: 120_000 }, () => {
  let wire: Wire;
  const open: Http2Connection[] = [];
  const client = async (token: string | undefined = wire.token) => {
    const connection = await http2Client(wire.router.url, token);
    open.push(connection);
    return connection;
  };
  before(async () => {
    wire = await startWire();
  });
  afterEach(async () => {
    for (const connection of open.splice(0)) connection.close();
    await wire.tidy();
  });
  after(() => wire?.close());

  it('is spoken on the port of HTTP/1.1, by prior knowledge, however the preface comes in', async () => {
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
    const settings = Buffer.from('000000040000000000', 'hex').toString('latin1');
    for (const pieces of [
      [preface + settings],
      ['P', preface.slice(1) + settings],
      ['PR', 'I * H', preface.slice(8) + settings],
    ]) {
      const connection = await wire.client();
      for (const piece of pieces) {
        connection.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.equal((await connection.take(9)).charCodeAt(3), 4, 'a SETTINGS frame comes first');
    }
  });

  it('takes nothing from HTTP/1.1, whose first bytes may be few or look alike', async () => {
    const upstream = await wire.upstream(async (connection) => {
      for (;;) {
        await connection.takeHead();
        connection.write(OK);
      }
    });
    for (const method of ['GET', 'PUT', 'PROPFIND', 'PATCH']) {
      const connection = await wire.client();
      const head = wire.head(`${method} /`, upstream.port, ['Content-Length: 0']);
      connection.write(head.slice(0, 2));
      await new Promise((resolve) => setImmediate(resolve));
      connection.write(head.slice(2));
      assert.equal((await connection.takeHead()).line, 'HTTP/1.1 200 OK');
    }
    const odd = await wire.client();
    odd.write('PRIVATE / HTTP/1.1\r\nHost: a\r\n\r\n');
    await odd.untilClosed();
  });

  it('a request reaches its sandbox as one of HTTP/1.1: host, path byte for byte, cookies in one line, no credential', async () => {
    const upstream = await wire.upstream();
    const connection = await client();
    const answer = connection.send({
      ':path': `/box:${upstream.port}/a%2Fb//../c?q=%20&&`,
      ':authority': 'router.test',
      cookie: ['a=1', 'b=2'],
      'x-bytes': 'caf\xe9',
      te: 'trailers',
    });
    const sandbox = await upstream.accept();
    const head = await sandbox.takeHead();
    assert.equal(head.line, 'GET /a%2Fb//../c?q=%20&& HTTP/1.1');
    assert.deepEqual(head.values('host'), ['router.test']);
    assert.deepEqual(head.values('cookie'), ['a=1; b=2']);
    assert.deepEqual(head.values('x-bytes'), ['caf\xe9']);
    assert.deepEqual(head.values('te'), ['trailers']);
    assert.deepEqual(head.values('authorization'), []);
    assert.deepEqual(head.values('x-forwarded-for'), ['127.0.0.1']);
    assert.deepEqual(head.values('x-forwarded-proto'), ['http']);
    sandbox.write(
      'HTTP/1.1 201 Made\r\nConnection: x-hop\r\nX-Hop: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok',
    );
    const { status, headers, body } = await answer;
    assert.deepEqual([status, body, headers['x-hop'], headers.connection], [201, 'ok', undefined, undefined]);
    assert.deepEqual(headers['set-cookie'], [`a=1; Path=/box:${upstream.port}/`, `b=2; Path=/box:${upstream.port}/`]);
  });

  it('interim answers, bodies without length and trailers go by', async () => {
    const upstream = await wire.upstream();
    const answer = (await client()).send({ ':path': `/box:${upstream.port}/` });
    const sandbox = await upstream.accept();
    await sandbox.takeHead();
    sandbox.write('HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: </b>; rel=preload\r\n\r\n');
    sandbox.write(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n',
    );
    const { interim, body, trailers } = await answer;
    assert.deepEqual([interim[0]?.[':status'], interim[0]?.link], [103, '</a>; rel=preload, </b>; rel=preload']);
    assert.deepEqual([body, trailers['x-sum']], ['abc', '1, 2']);
  });

  it('bodies of requests arrive whole, with a length as with one, without as chunks, and a client that waits for 100 gets it', async () => {
    const upstream = await wire.upstream();
    const connection = await client();
    const path = { ':path': `/box:${upstream.port}/`, ':method': 'POST' };
    const known = connection.send({ ...path, 'content-length': '5' }, 'hello');
    const sandbox = await upstream.accept();
    assert.deepEqual((await sandbox.takeHead()).values('content-length'), ['5']);
    assert.equal(await sandbox.take(5), 'hello');
    sandbox.write(OK);
    await known;
    const waiting = connection.open({ ...path, expect: '100-continue' });
    await once(waiting, 'continue');
    waiting.end('x'.repeat(200_000));
    const second = upstream.connections.length > 1 ? await upstream.accept() : sandbox;
    assert.deepEqual((await second.takeHead()).values('transfer-encoding'), ['chunked']);
    assert.equal((await second.takeChunked()).data.length, 200_000);
    second.write(OK);
    assert.equal((await answerOf(waiting)).status, 200);
  });

  it('answers that have no body have none: HEAD, 204, 304', async () => {
    const upstream = await wire.upstream(async (connection) => {
      for (;;) {
        const { line } = await connection.takeHead();
        const status = line.split('/')[1]?.slice(0, 3);
        connection.write(`HTTP/1.1 ${status} X\r\n${status === '204' ? '' : 'Content-Length: 7\r\n'}\r\n`);
      }
    });
    const connection = await client();
    for (const [method, status] of [
      ['HEAD', 200],
      ['GET', 204],
      ['GET', 304],
    ] as const) {
      const answer = await connection.send({ ':path': `/box:${upstream.port}/${status}`, ':method': method });
      assert.deepEqual([answer.status, answer.body], [status, '']);
    }
  });

  it('a client that takes a request back is gone for the sandbox at once, others of its connection go on', async () => {
    const upstream = await wire.upstream();
    const connection = await client();
    const taken = connection.open({ ':path': `/box:${upstream.port}/a` }, true);
    const first = await upstream.accept();
    await first.takeHead();
    const kept = connection.send({ ':path': `/box:${upstream.port}/b` });
    const second = await upstream.accept();
    await second.takeHead();
    taken.close(constants.NGHTTP2_CANCEL);
    await first.untilClosed();
    second.write(OK);
    assert.equal((await kept).body, 'ok');
  });

  it('an answer that breaks off is reset, and does not look whole', async () => {
    const upstream = await wire.upstream();
    const answer = (await client()).send({ ':path': `/box:${upstream.port}/` });
    const sandbox = await upstream.accept();
    await sandbox.takeHead();
    sandbox.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf');
    await sandbox.wait('the first half is on its way', () => sandbox.socket.writableLength === 0);
    sandbox.socket.end();
    await assert.rejects(answer, (error: ResetError) => {
      assert.deepEqual([error.code, error.received], [constants.NGHTTP2_INTERNAL_ERROR, 'half']);
      return true;
    });
  });

  it('nor does one whose length nobody knew', async () => {
    const upstream = await wire.upstream();
    const answer = (await client()).send({ ':path': `/box:${upstream.port}/` });
    const sandbox = await upstream.accept();
    await sandbox.takeHead();
    sandbox.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n');
    await sandbox.wait('the first half is on its way', () => sandbox.socket.writableLength === 0);
    sandbox.socket.end();
    await assert.rejects(answer, (error: ResetError) => error.code === constants.NGHTTP2_INTERNAL_ERROR);
  });

  it('neither side is read faster than the other takes it', async () => {
    const upstream = await wire.upstream();
    const connection = await client();
    const stream = connection.open({ ':path': `/box:${upstream.port}/`, ':method': 'POST' });
    stream.pause();
    const piece = Buffer.alloc(1 << 20);
    for (let index = 0; index < 64; index++) stream.write(piece);
    const sandbox = await upstream.accept();
    await sandbox.takeHead();
    sandbox.socket.pause();
    sandbox.write('HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n');
    for (let index = 0; index < 64; index++) sandbox.socket.write(piece);
    let before = -1;
    await until('both stand still', async () => {
      const now = sandbox.socket.writableLength + stream.writableLength;
      const stands = now === before;
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return stands;
    });
    // Kernel buffers of four sockets take some of it.
    assert.ok(sandbox.socket.writableLength > 32 << 20, `${sandbox.socket.writableLength} bytes of the answer wait`);
    assert.ok(stream.writableLength > 32 << 20, `${stream.writableLength} bytes of the body wait`);
  });

  it('a sandbox that answers what HTTP/2 has no place for is wrong, and harms nobody', async () => {
    const connection = await client();
    for (const [answer, expected] of [
      ['HTTP/1.1 200 OK\r\nTE: gzip\r\nContent-Length: 2\r\n\r\nok', 502],
      ['HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok', 502],
      [
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nConnection: x\r\nTE: x\r\nX-Sum: 1\r\n\r\n',
        200,
      ],
    ] as const) {
      const upstream = await wire.upstream(async (sandbox) => {
        await sandbox.takeHead();
        sandbox.write(answer);
      });
      const { status, trailers } = await connection.send({ ':path': `/box:${upstream.port}/` });
      assert.equal(status, expected, answer);
      if (status === 200) assert.deepEqual(Object.keys(trailers), ['x-sum']);
    }
    const upstream = await wire.upstream(async (sandbox) => {
      const [key = ''] = (await sandbox.takeHead()).values('sec-websocket-key');
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      sandbox.write(
        `HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nTE: x\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
    });
    const tunnel = connection.open({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': `/box:${upstream.port}/`,
    });
    await assert.rejects(answerOf(tunnel), ResetError);
    assert.equal((await connection.send({ ':path': '/healthz' })).status, 200);
  });

  it('a problem is answered as over HTTP/1.1; a body that nobody reads is stopped without an error', async () => {
    const connection = await client('wrong');
    const stream = connection.open({ ':path': '/box/', ':method': 'POST' });
    stream.write(Buffer.alloc(1 << 20));
    const answer = await answerOf(stream);
    assert.deepEqual([answer.status, JSON.parse(answer.body).code], [401, 'unauthenticated']);
    assert.equal(answer.headers['content-type'], 'application/problem+json');
    const contradiction = await connection.send({ ':path': '/box/', ':authority': 'a.test', host: 'b.test' });
    assert.deepEqual([contradiction.status, JSON.parse(contradiction.body).code], [400, 'bad_header']);
    const tunnel = await connection.send({ ':method': 'CONNECT', ':authority': '10.0.0.1:80' });
    assert.deepEqual([tunnel.status, JSON.parse(tunnel.body).code], [400, 'bad_request']);
  });

  it('calls of gRPC get problems as a status', async () => {
    const grpc = { 'content-type': 'application/grpc+proto', ':method': 'POST' };
    const unknown = await (await client()).send({ ...grpc, ':path': '/nobody/' }, '');
    assert.deepEqual([unknown.status, unknown.headers['grpc-status'], unknown.body], [200, '5', '']);
    assert.match(String(unknown.headers['grpc-message']), /^sandbox_not_found: /);
    const stranger = await (await client('wrong')).send({ ...grpc, ':path': '/box/' }, '');
    assert.equal(stranger.headers['grpc-status'], '16');
    const web = await (await client()).send(
      { ...grpc, 'content-type': 'application/grpc-web', ':path': '/nobody/' },
      '',
    );
    assert.equal(web.status, 404, 'gRPC-Web is no gRPC');
  });

  it('the control API and /healthz answer too', async () => {
    const connection = await client();
    assert.equal((await connection.send({ ':path': '/healthz' })).body, '{"status":"ok"}');
    const list = await connection.send({ ':path': '/-/v1/sandboxes' });
    assert.equal(JSON.parse(list.body).items[0].name, 'box');
    const wrong = await connection.send(
      { ':path': '/-/v1/claims', ':method': 'POST', 'content-type': 'application/json' },
      '{"a":1}',
    );
    assert.equal(wrong.status, 400);
  });

  it('requests are logged and counted as others are', async () => {
    await (await client()).send({ ':path': '/nobody/logged?secret=1' });
    await until('the line is there', () =>
      /"path":"\/nobody\/logged".*"code":"sandbox_not_found"/.test(wire.router.output()),
    );
    assert.match(wire.router.output(), /"path":"\/nobody\/logged".*"client":"127\.0\.0\.1"/);
    assert.doesNotMatch(wire.router.output(), /secret=1/);
    const metrics = await (await fetch(`${wire.router.adminUrl}/metrics`)).text();
    assert.match(metrics, /^sandbox_router_http2_connections [1-9]/m);
  });

  it('a router that goes sends its clients away, and finishes what it has begun', async () => {
    const other = await startWire('shutdownDelay: 300ms\n');
    const upstream = await other.upstream();
    const connection = await http2Client(other.router.url, other.token);
    open.push(connection);
    const told: [code: number, lastStreamId: number][] = [];
    connection.session.on('goaway', (code, lastStreamId) => told.push([code, lastStreamId]));
    const answer = connection.send({ ':path': `/box:${upstream.port}/` });
    const sandbox = await upstream.accept();
    await sandbox.takeHead();
    const stopped = other.router.stop('SIGTERM');
    await until('it was told', () => told.length > 0);
    assert.deepEqual(told[0], [constants.NGHTTP2_NO_ERROR, 2 ** 31 - 1], 'what is on its way is still taken');
    sandbox.write(OK);
    assert.equal((await answer).body, 'ok');
    assert.equal(await stopped, 0);
    await other.close();
  });

  it('nghttp, h2load and curl get what they ask for', async () => {
    const upstream = await wire.upstream(async (connection) => {
      for (;;) {
        await connection.takeHead();
        connection.write(OK);
      }
    });
    const url = `${wire.urlOf(upstream.port)}/`;
    const authorization = ['-H', `authorization: Bearer ${wire.token}`];
    assert.match((await run('nghttp', ['-v', ...authorization, url])).stdout, /:status: 200/);
    const load = await run('h2load', ['-n', '2000', '-c', '5', '-m', '20', ...authorization, url]);
    assert.match(load.stdout, /2000 succeeded, 0 failed, 0 errored/);
    const curl = await run('curl', [
      '-s',
      '--http2-prior-knowledge',
      '-w',
      ' %{http_version} %{http_code}',
      ...authorization,
      url,
    ]);
    assert.equal(curl.stdout, 'ok 2 200');
  });
});
