import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { constants, createDeflate } from 'node:zlib';
import { createSpdyConnection, type SpdyStream } from '../../../src/engine/api/streaming/spdy-connection.ts';
import { SPDY_DICTIONARY } from '../../../src/engine/api/streaming/spdy-dictionary.ts';
import { createSpdyHeaders } from '../../../src/engine/api/streaming/spdy-headers.ts';

/** A connection with what it sent and the streams that were opened on it. */
function world() {
  const sent: Buffer[] = [];
  const streams: SpdyStream[] = [];
  const connection = createSpdyConnection(
    async (frame) => {
      sent.push(frame);
    },
    (stream) => streams.push(stream),
  );
  return { connection, sent, streams, client: createSpdyHeaders() };
}

function frame(first: number, flags: number, body: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(first);
  head.writeUInt8(flags, 4);
  head.writeUIntBE(body.length, 5, 3);
  return Buffer.concat([head, body]);
}

const control = (type: number, flags: number, body: Buffer) => frame((0x80030000 | type) >>> 0, flags, body);

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

async function synStream(headers: ReturnType<typeof createSpdyHeaders>, id: number, entries: Record<string, string>) {
  const block = await headers.pack(new Map(Object.entries(entries)));
  return control(1, 0, Buffer.concat([word(id), word(0), Buffer.alloc(2), block]));
}

describe('a SPDY/3.1 connection', () => {
  it('has the dictionary whose checksum every header block carries', async () => {
    const block = await createSpdyHeaders().pack(new Map());
    assert.equal(block.readUInt32BE(2), 0xe3c6a7c2);
  });

  it('opens streams with their headers, however the bytes are cut, and replies to each', async () => {
    const { connection, sent, streams, client } = world();
    const bytes = Buffer.concat([
      await synStream(client, 1, { streamType: 'error', port: '8888' }),
      await synStream(client, 3, { streamType: 'data', port: '8888' }),
    ]);
    for (const byte of bytes) await connection.receive(Buffer.of(byte));
    assert.deepEqual(
      streams.map(({ id, headers }) => [id, headers.get('streamtype'), headers.get('port')]),
      [
        [1, 'error', '8888'],
        [3, 'data', '8888'],
      ],
    );
    assert.deepEqual(
      sent.map((reply) => [reply.readUInt32BE(0), reply.readUInt32BE(8)]),
      [
        [0x80030002, 1],
        [0x80030002, 3],
      ],
    );
  });

  it('gives data in order, then its end; what is sent after an end or a reset goes nowhere', async () => {
    const { connection, sent, streams, client } = world();
    await connection.receive(await synStream(client, 1, {}));
    const stream = streams[0] as SpdyStream;
    const heard: string[] = [];
    stream.onData = async (chunk) => void heard.push(chunk.toString());
    stream.onEnd = () => heard.push('end');
    await connection.receive(Buffer.concat([frame(1, 0, Buffer.from('a')), frame(1, 1, Buffer.from('b'))]));
    await connection.receive(frame(1, 0, Buffer.from('late')));
    assert.deepEqual(heard, ['a', 'b', 'end']);
    sent.length = 0;
    await stream.send(Buffer.from('answer'));
    stream.end();
    await stream.send(Buffer.from('lost'));
    assert.deepEqual(sent, [frame(1, 0, Buffer.from('answer')), frame(1, 1, Buffer.alloc(0))]);
  });

  it('says when the other side gives a stream up, and when the connection goes', async () => {
    const { connection, streams, client } = world();
    for (const id of [1, 3]) await connection.receive(await synStream(client, id, {}));
    const reset: number[] = [];
    for (const stream of streams) stream.onReset = () => reset.push(stream.id);
    await connection.receive(control(3, 0, Buffer.concat([word(1), word(5)])));
    assert.deepEqual(reset, [1]);
    connection.close();
    assert.deepEqual(reset, [1, 3]);
  });

  it('answers pings with the same ping', async () => {
    const { connection, sent } = world();
    await connection.receive(control(6, 0, word(7)));
    assert.deepEqual(sent, [control(6, 0, word(7))]);
  });

  const bomb = async () => {
    const deflate = createDeflate({ dictionary: SPDY_DICTIONARY });
    deflate.write(Buffer.concat([word(1), word(4), Buffer.from('name'), word(1 << 24), Buffer.alloc(1 << 24)]));
    await new Promise<void>((done) => deflate.flush(constants.Z_SYNC_FLUSH, () => done()));
    return control(1, 0, Buffer.concat([word(1), word(0), Buffer.alloc(2), deflate.read() as Buffer]));
  };
  const refused: [string, () => Promise<Buffer> | Buffer, RegExp][] = [
    ['another version', () => frame(0x80020001, 0, Buffer.alloc(0)), /another version/],
    [
      'a frame of 16 MiB',
      () => Buffer.concat([word(1), Buffer.of(0, 0xff, 0xff, 0xff)]),
      /a SPDY frame of 16777215 bytes/,
    ],
    ['headers that are no zlib', () => control(1, 0, Buffer.alloc(40, 1)), /header/],
    ['headers that unpack to 16 MiB', bomb, /more than 16384 bytes/],
  ];
  for (const [what, bytes, why] of refused)
    it(`refuses ${what}`, async () => {
      const { connection, streams } = world();
      await assert.rejects(connection.receive(await bytes()), why);
      assert.equal(streams.length, 0);
    });
});
