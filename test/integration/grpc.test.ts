import assert from 'node:assert/strict';
import { once } from 'node:events';
import { constants, createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { after, afterEach, before, describe, it } from 'node:test';
import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { type GrpcSandbox, grpcClient, startGrpcSandbox } from '../support/grpc-sandbox.ts';
import { answerOf, http2Client } from '../support/http2-client.ts';
import { until } from '../support/until.ts';
import { startWire, type Wire } from '../support/wire.ts';

describe('gRPC through the router, to sandboxes of HTTP/2', { timeout: 120_000 }, () => {
  let wire: Wire;
  let sandbox: GrpcSandbox;
  const clients: { close(): void }[] = [];
  before(async () => {
    wire = await startWire(undefined, { 'sandbox-router/protocol': 'h2c' });
    sandbox = await startGrpcSandbox();
  });
  afterEach(async () => {
    for (const each of clients.splice(0)) each.close();
    await wire.tidy();
  });
  after(async () => {
    sandbox?.kill();
    await wire?.close();
  });

  const client = (authority?: string) => {
    const made = grpcClient(new URL(wire.router.url).host, authority);
    clients.push(made);
    return made;
  };
  const metadata = (more: Record<string, string> = {}) => {
    const made = new Metadata();
    const named = { 'x-sandbox-id': 'box', 'x-sandbox-port': String(sandbox.port) };
    for (const [name, value] of Object.entries({ authorization: `Bearer ${wire.token}`, ...named, ...more }))
      made.set(name, value);
    return made;
  };
  /** One unary call: its answer, or its error, and the trailers. */
  const unary = (message: string, more: Record<string, string> = {}, options: object = {}, authority?: string) =>
    new Promise<{ answer?: string; error?: ServiceError; trailers: Metadata }>((resolve) => {
      let answer: string | undefined;
      let failed: ServiceError | undefined;
      const call = client(authority).unary(
        Buffer.from(message),
        metadata(more),
        options,
        (error: ServiceError | null, reply?: Buffer) => {
          answer = reply?.toString();
          failed = error ?? undefined;
        },
      );
      call.on('status', ({ metadata: trailers }: { metadata: Metadata }) =>
        setImmediate(() =>
          resolve({
            trailers,
            ...(answer === undefined ? {} : { answer }),
            ...(failed === undefined ? {} : { error: failed }),
          }),
        ),
      );
    });

  /** A server of HTTP/2 that does as it is told; ended after the test. */
  async function oddSandbox(
    serve: (stream: ServerHttp2Stream, path: string, headers: IncomingHttpHeaders) => void,
  ): Promise<{ port: number; cut: () => void }> {
    const server = createServer();
    const sockets: Socket[] = [];
    server.on('connection', (socket) => sockets.push(socket));
    const cut = () => {
      for (const socket of sockets) socket.destroy();
    };
    server.on('stream', (stream, headers) => {
      stream.on('error', () => {});
      serve(stream, String(headers[':path']), headers);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    clients.push({
      close: () => {
        server.close();
        cut();
      },
    });
    return { port: (server.address() as { port: number }).port, cut };
  }

  it('a unary call has its answer, its metadata and its trailers, binary ones too', async () => {
    const { answer, trailers } = await unary('hello', { 'x-sent': 'ä'.normalize('NFD').slice(0, 1) });
    assert.equal(answer, 'hello');
    assert.deepEqual(trailers.get('x-seen'), ['a']);
    assert.deepEqual(trailers.get('x-bin-bin'), [Buffer.from([0, 255])]);
  });

  it('a sandbox is named by the host as well', async () => {
    const made = new Metadata();
    made.set('authorization', `Bearer ${wire.token}`);
    const host = client(`box--default--${sandbox.port}.localhost`);
    const answer = await new Promise((resolve, reject) =>
      host.unary(Buffer.from('by host'), made, (error: Error | null, reply: Buffer) =>
        error ? reject(error) : resolve(String(reply)),
      ),
    );
    assert.equal(answer, 'by host');
  });

  it('a status of the sandbox arrives as it is, with its text and trailers, though nothing came before it', async () => {
    const { error, trailers } = await unary('fail', { 'x-sent': '1' });
    assert.deepEqual([error?.code, error?.details], [9, 'as was asked — é%']);
    assert.deepEqual(trailers.get('x-seen'), ['1']);
  });

  it('a client streams', async () => {
    const parts = Array.from({ length: 200 }, (_, index) => Buffer.alloc(1000, index));
    const answer = await new Promise<Buffer>((resolve, reject) => {
      const call = client().clientStream(metadata(), (error: Error | null, reply: Buffer) =>
        error ? reject(error) : resolve(reply),
      );
      for (const part of parts) call.write(part);
      call.end();
    });
    assert.ok(answer.equals(Buffer.concat(parts)));
  });

  it('a sandbox streams', async () => {
    const call = client().serverStream(Buffer.from('300x1000'), metadata({ 'x-sent': 'end' }));
    let count = 0;
    const status = once(call, 'status');
    for await (const part of call) assert.deepEqual([part.length, part[0]], [1000, ++count & 0xff]);
    assert.equal(count, 300);
    assert.deepEqual((await status)[0].metadata.get('x-seen'), ['end']);
  });

  it('both stream, message by message, in either direction without waiting for the other to end', async () => {
    const call = client().both(metadata());
    for (let round = 0; round < 50; round++) {
      call.write(Buffer.from(`round ${round}`));
      assert.equal(String((await once(call, 'data'))[0]), `round ${round}`);
    }
    call.end();
    call.resume();
    assert.equal((await once(call, 'status'))[0].code, 0);
  });

  it('neither side is read faster than the other takes it', async () => {
    let sent = 0;
    const odd = await oddSandbox((stream) => {
      stream.respond({ ':status': 200 });
      const send = () => {
        while (sent < 1000 && stream.write(Buffer.alloc(65_536))) sent++;
        stream.once('drain', send);
      };
      send();
    });
    const connection = await http2Client(wire.router.url, wire.token);
    clients.push(connection);
    const stream = connection.open({ ':path': `/box:${odd.port}/`, ':method': 'POST' });
    for (let index = 0; index < 1000; index++) stream.write(Buffer.alloc(65_536));
    stream.pause();
    let before = -1;
    await until('both stand still', async () => {
      const now = sent * 65_536 + stream.writableLength;
      const stands = now === before;
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return stands;
    });
    assert.ok(sent < 100, `${sent} pieces of the answer are on their way`);
    assert.ok(stream.writableLength > 900 * 65_536, `${stream.writableLength} bytes of the body wait`);
  });

  it('a deadline ends a call here and in the sandbox', async () => {
    const cancelled = sandbox.cancelled();
    const { error } = await unary('hang', {}, { deadline: Date.now() + 300 });
    assert.equal(error?.code, 4);
    await until('the sandbox knows', () => sandbox.cancelled() > cancelled);
  });

  it('a cancelled call is cancelled in the sandbox', async () => {
    const cancelled = sandbox.cancelled();
    const call = client().both(metadata());
    call.on('error', () => {});
    call.write(Buffer.from('x'));
    await once(call, 'data');
    call.cancel();
    await until('the sandbox knows', () => sandbox.cancelled() > cancelled);
  });

  it('a stream that the sandbox resets is reset with the same code; a connection that breaks is UNAVAILABLE', async () => {
    const answering = { ':status': 200, 'content-type': 'application/grpc' };
    const odd = await oddSandbox((stream, path) => {
      stream.respond(answering, { waitForTrailers: true });
      stream.write(Buffer.from([0, 0, 0, 0, 1, 65]));
      setTimeout(() => (path.endsWith('Both') ? odd.cut() : stream.close(11)), 100);
    });
    const named = { 'x-sandbox-port': String(odd.port) };
    for (const [begin, expected] of [
      [() => client().serverStream(Buffer.from('1x1'), metadata(named)), 8],
      [() => client().both(metadata(named)), 14],
    ] as const) {
      const call = begin();
      const status = once(call, 'error');
      call.on('data', () => {});
      assert.equal((await status)[0].code, expected, String((await status)[0]));
    }
  });

  it('a sandbox that does not listen, or speaks no HTTP/2, is UNAVAILABLE', async () => {
    const refused = await unary('x', { 'x-sandbox-port': '1' });
    assert.deepEqual([refused.error?.code, /upstream_refused/.test(refused.error?.details ?? '')], [14, true]);
    const plain = await wire.upstream(async (connection) => connection.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const invalid = await unary('x', { 'x-sandbox-port': String(plain.port) });
    assert.deepEqual([invalid.error?.code, /upstream_invalid/.test(invalid.error?.details ?? '')], [14, true]);
  });

  it('many calls at once share a few connections, and each has its own answer', async () => {
    const shared = client();
    const answers = await Promise.all(
      Array.from(
        { length: 300 },
        (_, index) =>
          new Promise((resolve, reject) =>
            shared.unary(Buffer.from(`call ${index}`), metadata(), (error: Error | null, reply: Buffer) =>
              error ? reject(error) : resolve(String(reply)),
            ),
          ),
      ),
    );
    assert.deepEqual(
      answers,
      Array.from({ length: 300 }, (_, index) => `call ${index}`),
    );
  });

  it('clients of HTTP/1.1 and plain requests reach such a sandbox too, bodies, trailers and redirects included', async () => {
    const odd = await oddSandbox((stream, path, headers) => {
      if (path === '/moved') stream.respond({ ':status': 302, location: '/elsewhere' }, { endStream: true });
      else {
        stream.respond(
          { ':status': 200, 'x-host': headers[':authority'] as string, 'set-cookie': ['a=1', 'b=2'] },
          { waitForTrailers: true },
        );
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }));
        stream.pipe(stream);
      }
    });
    const url = wire.urlOf(odd.port);
    const authorization = { authorization: `Bearer ${wire.token}` };
    const echo = await fetch(`${url}/`, { method: 'POST', body: 'x'.repeat(300_000), headers: authorization });
    assert.equal((await echo.text()).length, 300_000);
    assert.deepEqual([echo.status, echo.headers.get('x-host')], [200, new URL(wire.router.url).host]);
    assert.deepEqual(echo.headers.getSetCookie(), [
      `sandbox-router.default.box.a=1; Path=/box:${odd.port}/`,
      `sandbox-router.default.box.b=2; Path=/box:${odd.port}/`,
    ]);
    const moved = await fetch(`${url}/moved`, { headers: authorization, redirect: 'manual' });
    assert.deepEqual([moved.status, moved.headers.get('location')], [302, `/box:${odd.port}/elsewhere`]);
    const raw = await wire.client();
    const trailers = 'Connection: x\r\nTE: x\r\nX-Fine: 1\r\n';
    raw.write(
      `${wire.head('POST /', odd.port, ['Transfer-Encoding: chunked', 'TE: trailers'])}2\r\nhi\r\n0\r\n${trailers}\r\n`,
    );
    await raw.takeHead();
    assert.deepEqual(await raw.takeChunked(), { data: 'hi', trailers: 'x-sum: 1\r\n' });
  });

  it('what is announced before an answer, and what follows a body, goes by in both directions', async () => {
    const odd = await oddSandbox((stream) => {
      let sum = 'none';
      stream.additionalHeaders({ ':status': 103, link: '</a>; rel=preload' });
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('trailers', (trailers) => {
        sum = String(trailers['x-sum']);
      });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-seen': sum }));
      stream.pipe(stream);
    });
    const connection = await http2Client(wire.router.url, wire.token);
    clients.push(connection);
    const stream = connection.session.request(
      { ':method': 'POST', ':path': `/box:${odd.port}/`, authorization: `Bearer ${wire.token}` },
      { waitForTrailers: true },
    );
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }));
    stream.end('hello');
    const { interim, body, trailers } = await answerOf(stream);
    assert.deepEqual([interim[0]?.link, body, trailers['x-seen']], ['</a>; rel=preload', 'hello', '42']);
  });

  it('a head that is all of an answer stays so, as does the status of a call that was refused', async () => {
    const odd = await oddSandbox((stream) =>
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5' }, { endStream: true }),
    );
    const connection = await http2Client(wire.router.url, wire.token);
    clients.push(connection);
    const grpc = { ':method': 'POST', 'content-type': 'application/grpc' };
    for (const path of [`/box:${odd.port}/`, '/nobody/']) {
      const stream = connection.open({ ...grpc, ':path': path }, true);
      const [headers, flags] = await once(stream, 'response');
      assert.deepEqual([headers['grpc-status'], flags & constants.NGHTTP2_FLAG_END_STREAM], ['5', 1]);
    }
  });

  it('connections of a pod are cut the moment that the sandbox has another', async () => {
    const call = client().both(metadata());
    const ended = once(call, 'error');
    call.write(Buffer.from('x'));
    await once(call, 'data');
    wire.cluster.replacePod(0);
    assert.equal((await ended)[0].code, 14);
    const again = await unary('again');
    assert.equal(again.answer, 'again', String(again.error));
  });
});
