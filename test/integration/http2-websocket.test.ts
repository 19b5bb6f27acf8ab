import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { ClientHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { after, afterEach, before, describe, it } from 'node:test';
import { WebSocketServer } from 'ws';
import { type Http2Connection, http2Client } from '../support/http2-client.ts';
import { startWire, type Wire } from '../support/wire.ts';

/** A frame of a client (RFC 6455 section 5.2), its mask zero: what it carries is as it is. */
function clientFrame(opcode: number, payload: string): Buffer {
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0]), Buffer.from(payload)]);
}

describe('WebSockets over HTTP/2 (RFC 8441), to sandboxes of HTTP/1.1', { timeout: 60_000 }, () => {
  let wire: Wire;
  let connection: Http2Connection;
  const ends: (() => void)[] = [];
  before(async () => {
    wire = await startWire();
  });
  afterEach(async () => {
    for (const end of ends.splice(0)) end();
    await wire.tidy();
  });
  after(() => wire?.close());

  /** A sandbox whose WebSockets say everything back; it chooses the second protocol that it is offered. */
  const echo = async () => {
    const server = createServer();
    const sockets = new Set<Socket>();
    const webSockets = new WebSocketServer({ server, handleProtocols: (offered) => [...offered][1] ?? false });
    webSockets.on('connection', (socket) =>
      socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })),
    );
    server.on('connection', (socket) => sockets.add(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ends.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return (server.address() as { port: number }).port;
  };
  const connect = async (port: number, headers: Record<string, string> = {}) => {
    connection = await http2Client(wire.router.url, wire.token);
    ends.push(connection.close);
    assert.equal(connection.session.remoteSettings.enableConnectProtocol, true);
    return connection.open({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': `/box:${port}/socket`,
      'sec-websocket-version': '13',
      ...headers,
    });
  };
  const statusOf = async (stream: ClientHttp2Stream) => (await once(stream, 'response'))[0];
  /** Reads exactly so many bytes. */
  const take = async (stream: ClientHttp2Stream, bytes: number) => {
    let got = Buffer.alloc(0);
    while (got.length < bytes) {
      const chunk: Buffer | null = stream.read();
      if (chunk === null) await once(stream, 'readable');
      else got = Buffer.concat([got, chunk]);
    }
    return got;
  };

  it('messages go both ways, the protocol that the sandbox chose is told, and it closes as it does there', async () => {
    const stream = await connect(await echo(), { 'sec-websocket-protocol': 'a, b' });
    const headers = await statusOf(stream);
    assert.deepEqual([headers[':status'], headers['sec-websocket-protocol']], [200, 'b']);
    assert.deepEqual(
      [headers.upgrade, headers.connection, headers['sec-websocket-accept']],
      [undefined, undefined, undefined],
    );
    for (const text of ['hello', 'again']) {
      stream.write(clientFrame(1, text));
      assert.equal((await take(stream, 7)).toString('latin1'), `\x81\x05${text}`);
    }
    stream.write(clientFrame(8, '\x03\xe8'.slice(0, 0)));
    assert.equal((await take(stream, 2)).toString('hex'), '8800');
    stream.end();
    stream.resume();
    await once(stream, 'close');
  });

  it('reaches the sandbox as an upgrade of HTTP/1.1 with a key, and what answers without accepting it opens nothing', async () => {
    const upstream = await wire.upstream();
    const stream = await connect(upstream.port);
    const status = statusOf(stream);
    const sandbox = await upstream.accept();
    const head = await sandbox.takeHead();
    assert.equal(head.line, 'GET /socket HTTP/1.1');
    assert.deepEqual(
      [head.values('upgrade'), head.values('connection'), head.values('sec-websocket-version')],
      [['websocket'], ['Upgrade'], ['13']],
    );
    assert.match(head.values('sec-websocket-key')[0] ?? '', /^[\w+/]{22}==$/);
    assert.deepEqual(head.values('authorization'), []);
    sandbox.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n',
    );
    assert.equal((await status)[':status'], 502);
  });

  it('an answer that is no 101 is passed on as what it is', async () => {
    const upstream = await wire.upstream(async (sandbox) => {
      await sandbox.takeHead();
      sandbox.write('HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nnope');
      sandbox.socket.end();
    });
    const stream = await connect(upstream.port);
    const headers = await statusOf(stream);
    assert.deepEqual([headers[':status'], headers['content-type']], [403, 'text/plain']);
    assert.equal(String(await take(stream, 4)), 'nope');
  });

  it('a refusal is a problem', async () => {
    const stranger = await connect(1, { authorization: 'Bearer wrong' });
    assert.equal((await statusOf(stranger))[':status'], 401);
    const other = await connect(1, { ':protocol': 'connect-udp' });
    assert.equal((await statusOf(other))[':status'], 502);
  });

  it('a client that leaves is gone for the sandbox, and a sandbox that goes is gone for the client', async () => {
    const upstream = await wire.upstream();
    const accept = async () => {
      const sandbox = await upstream.accept();
      const [key = ''] = (await sandbox.takeHead()).values('sec-websocket-key');
      const { createHash } = await import('node:crypto');
      const accepted = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      sandbox.write(
        `HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accepted}\r\n\r\n`,
      );
      return sandbox;
    };
    const leaving = await connect(upstream.port);
    const first = await accept();
    await statusOf(leaving);
    leaving.close(8);
    await first.untilClosed();
    const staying = await connect(upstream.port);
    const second = await accept();
    await statusOf(staying);
    staying.resume();
    second.socket.end();
    await once(staying, 'end');
  });

  it('one that is open when the router goes is told 1001', async () => {
    const other = await startWire('shutdownDelay: 100ms\n');
    const port = await echo();
    const client = await http2Client(other.router.url, other.token);
    ends.push(client.close);
    const stream = client.open({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': `/box:${port}/` });
    await statusOf(stream);
    ends.push(() => void other.close());
    const stopped = other.router.stop('SIGTERM');
    assert.match((await take(stream, 4)).toString('hex'), /^88..03e9/);
    await stopped;
  });
});
