import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { type FrameReader, frame, headerBlock, rawHttp2 } from '../support/http2-frames.ts';
import { until } from '../support/until.ts';
import { startWire, type Wire } from '../support/wire.ts';

const CONFIG = `
http2: { maxStreams: 20, maxHeaders: 50, resetBurst: 100, resetsPerSecond: 10, controlBurst: 50, controlPerSecond: 10 }
`;
const [DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION] = [0, 1, 3, 4, 6, 7, 9];
const [END_STREAM, END_HEADERS, ACK] = [1, 4, 1];
const CANCEL = Buffer.from([0, 0, 0, 8]);
const ENHANCE_YOUR_CALM = 11;

describe('what one connection of HTTP/2 may cost', { timeout: 60_000 }, () => {
  let wire: Wire;
  const open: FrameReader[] = [];
  const connect = async () => {
    const connection = await rawHttp2(wire.router.url);
    open.push(connection);
    return connection;
  };
  const abuses = async () => {
    const metrics = await (await fetch(`${wire.router.adminUrl}/metrics`)).text();
    const of = (reason: string) =>
      Number(
        new RegExp(`^sandbox_router_http2_abuses_total\\{reason="${reason}"\\} (\\d+)`, 'm').exec(metrics)?.[1] ?? 0,
      );
    return { protocol: of('protocol'), flood: of('control_flood') };
  };
  before(async () => {
    wire = await startWire(CONFIG);
  });
  afterEach(async () => {
    for (const connection of open.splice(0)) connection.socket.destroy();
    assert.equal((await fetch(`${wire.router.url}/healthz`)).status, 200, 'others are served');
  });
  after(() => wire?.close());

  const get = headerBlock({ ':method': 'GET', ':scheme': 'http', ':path': '/nobody/', ':authority': 'a' });

  it('streams: it is told how many, and more end the connection', async () => {
    const connection = await connect();
    const settings = await connection.until(SETTINGS);
    assert.match(settings.payload.toString('hex'), /000300000014/);
    connection.write(frame(SETTINGS, ACK, 0));
    for (let index = 0; index < 21; index++) connection.write(frame(HEADERS, END_HEADERS, 1 + 2 * index, get));
    await connection.until(GOAWAY);
    await connection.closed();
  });

  it('requests taken back at once: some are, a flood ends the connection, and nothing is left of either', async () => {
    const upstream = await wire.upstream();
    const head = headerBlock({
      ':method': 'GET',
      ':scheme': 'http',
      ':path': `/box:${upstream.port}/`,
      ':authority': 'a',
      authorization: `Bearer ${wire.token}`,
    });
    const before = await abuses();
    const connection = await connect();
    await connection.until(SETTINGS);
    const once = (id: number) =>
      Buffer.concat([frame(HEADERS, END_HEADERS | END_STREAM, id, head), frame(RST_STREAM, 0, id, CANCEL)]);
    connection.write(Buffer.concat(Array.from({ length: 50 }, (_, index) => once(1 + 2 * index))));
    connection.write(frame(PING, 0, 0, Buffer.alloc(8)));
    await connection.until(PING);
    for (let index = 50; index < 400 && !connection.socket.destroyed; index++) {
      connection.write(once(1 + 2 * index));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await connection.closed();
    await until('it is counted', async () => (await abuses()).protocol > before.protocol);
    await until('none is under way', async () => {
      const metrics = await (await fetch(`${wire.router.adminUrl}/metrics`)).text();
      return /^sandbox_router_inflight_requests 0$/m.test(metrics);
    });
  });

  it('a head that does not end', async () => {
    const connection = await connect();
    await connection.until(SETTINGS);
    connection.write(frame(HEADERS, 0, 1, get));
    const field = headerBlock({ 'x-field': 'x'.repeat(100) });
    for (let index = 0; index < 20; index++) connection.write(frame(CONTINUATION, 0, 1, field));
    await connection.until(GOAWAY);
    await connection.closed();
  });

  const many = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`x-${index}`, '1']));
  const large = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`x-${index}`, 'v'.repeat(1000)]));
  /** A request with more fields. */
  const sendHead = (connection: FrameReader, fields: Record<string, string>) => {
    const block = Buffer.concat([get, headerBlock(fields)]);
    const pieces = Math.ceil(block.length / 16_000);
    for (let index = 0; index < pieces; index++)
      connection.write(
        frame(
          index === 0 ? HEADERS : CONTINUATION,
          (index === pieces - 1 ? END_HEADERS : 0) | (index === 0 ? END_STREAM : 0),
          1,
          block.subarray(index * 16_000, (index + 1) * 16_000),
        ),
      );
  };
  for (const [what, fields] of [
    ['number', many],
    ['size', large],
  ] as const)
    it(`header fields beyond the bound in ${what} reset their stream alone`, async () => {
      const connection = await connect();
      const settings = await connection.until(SETTINGS);
      assert.match(settings.payload.toString('hex'), /000600008000/, 'it was told the size');
      connection.write(frame(SETTINGS, ACK, 0));
      sendHead(connection, fields);
      const reset = await connection.until(RST_STREAM);
      assert.equal(reset.payload.readUInt32BE(0), ENHANCE_YOUR_CALM);
      connection.write(frame(HEADERS, END_HEADERS | END_STREAM, 3, get));
      assert.equal((await connection.until(HEADERS)).streamId, 3);
    });

  it('header fields beyond the bound in size from a client that does not acknowledge it are answered with 431', async () => {
    const connection = await connect();
    await connection.until(SETTINGS);
    sendHead(connection, large);
    await connection.until(HEADERS);
    assert.equal(JSON.parse(String((await connection.until(DATA)).payload)).code, 'headers_too_large');
  });

  for (const [what, flood] of [
    ['pings', frame(PING, 0, 0, Buffer.alloc(8))],
    ['settings', frame(SETTINGS, 0, 0)],
  ] as const)
    it(`${what}: as many as a client has use for, a flood ends the connection`, async () => {
      const before = await abuses();
      const connection = await connect();
      await connection.until(SETTINGS);
      for (let index = 0; index < 40; index++) connection.write(flood);
      connection.write(frame(HEADERS, END_HEADERS | END_STREAM, 1, get));
      await connection.until(HEADERS);
      for (let index = 0; index < 400 && !connection.socket.destroyed; index++) {
        connection.write(flood);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await connection.closed();
      await until('it is counted', async () => (await abuses()).flood > before.flood);
    });

  it('frames of data without data', async () => {
    const connection = await connect();
    await connection.until(SETTINGS);
    const post = headerBlock({ ':method': 'POST', ':scheme': 'http', ':path': '/nobody/', ':authority': 'a' });
    connection.write(frame(HEADERS, END_HEADERS, 1, post));
    for (let index = 0; index < 3000 && !connection.socket.destroyed; index++) connection.write(frame(DATA, 0, 1));
    await connection.closed();
  });

  it('what is no HTTP/2', async () => {
    const connection = await connect();
    await connection.until(SETTINGS);
    connection.write(frame(HEADERS, END_HEADERS | END_STREAM, 1, Buffer.alloc(6, 0xff)));
    await connection.until(GOAWAY);
    await connection.closed();
  });
});

describe('what one connection of HTTP/2 may take in memory', { timeout: 60_000 }, () => {
  let wire: Wire;
  before(async () => {
    wire = await startWire('http2: { maxConnectionBytes: 1000000 }');
  });
  after(() => wire?.close());

  it('a client that reads nothing of what it asks for has its further requests reset, and others are served', async () => {
    const body = Buffer.alloc(256 * 1024, 'x');
    const upstream = await wire.upstream(async (sandbox) => {
      await sandbox.takeHead();
      sandbox.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      sandbox.socket.end(body);
    });
    const get = headerBlock({
      ':method': 'GET',
      ':scheme': 'http',
      ':path': `/box:${upstream.port}/`,
      ':authority': 'a',
      authorization: `Bearer ${wire.token}`,
    });
    const connection = await rawHttp2(wire.router.url);
    try {
      await connection.until(SETTINGS);
      connection.write(frame(SETTINGS, ACK, 0));
      // No window for data: all answers wait in the router.
      connection.write(frame(SETTINGS, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])));
      let sent = 0;
      const asking = setInterval(() => {
        if (sent < 120) connection.write(frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * sent++, get));
      }, 20);
      try {
        const reset = await connection.until(RST_STREAM);
        assert.equal(reset.payload.readUInt32BE(0), ENHANCE_YOUR_CALM);
        assert.ok(reset.streamId > 1, 'those before it were taken');
      } finally {
        clearInterval(asking);
      }
      assert.equal((await fetch(`${wire.router.url}/healthz`)).status, 200);
    } finally {
      connection.socket.destroy();
    }
  });
});
