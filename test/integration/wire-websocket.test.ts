import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { after, afterEach, before, describe, it } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import WebSocket, { WebSocketServer } from 'ws';
import { type RawConnection, rawClient } from '../support/raw-connection.ts';
import {
  BINARY,
  CLOSE,
  CONTINUATION,
  closing,
  type FrameFields,
  frame,
  PING,
  PONG,
  TEXT,
} from '../support/websocket-bytes.ts';
import { startWire, type Wire } from '../support/wire.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
/** Larger messages are refused by the server with 1009. */
const LARGEST_BYTES = 1 << 20;
const GOODBYE: FrameFields = { opcode: CLOSE, payload: closing(1000) };
const NOT_UTF8 = Buffer.from([0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xed, 0xa0, 0x80, 0x65]);
const deflated = (text: string) => deflateRawSync(text, { finishFlush: 2 }).subarray(0, -4);

/** What a client sends after the handshake: frames of every kind, and every way to break the rules. */
const CONVERSATIONS: [what: string, frames: FrameFields[]][] = [
  ...[0, 1, 125, 126, 127, 128, 65_535, 65_536, 300_000].flatMap((bytes): [string, FrameFields[]][] => [
    [`a text of ${bytes} bytes`, [{ opcode: TEXT, payload: 'x'.repeat(bytes) }]],
    [`binary data of ${bytes} bytes`, [{ opcode: BINARY, payload: Buffer.alloc(bytes, 0xfe) }]],
  ]),
  ['a message over the bound of the server', [{ opcode: BINARY, payload: Buffer.alloc(LARGEST_BYTES + 1) }]],
  [
    'a text in three parts',
    [
      { opcode: TEXT, payload: 'a', fin: false },
      { opcode: CONTINUATION, payload: 'b', fin: false },
      { opcode: CONTINUATION, payload: 'c' },
    ],
  ],
  [
    'a ping and a pong between two parts',
    [
      { opcode: BINARY, payload: 'a', fin: false },
      { opcode: PING, payload: 'now' },
      { opcode: PONG, payload: 'never asked' },
      { opcode: CONTINUATION, payload: 'b' },
    ],
  ],
  ['a first part that no other follows', [{ opcode: TEXT, payload: 'a', fin: false }]],
  ['a continuation of nothing', [{ opcode: CONTINUATION, payload: 'a' }]],
  [
    'a new message inside another',
    [
      { opcode: TEXT, payload: 'a', fin: false },
      { opcode: TEXT, payload: 'b' },
    ],
  ],
  ...[0, 1, 125].map((bytes): [string, FrameFields[]] => [
    `a ping with ${bytes} bytes`,
    [{ opcode: PING, payload: 'p'.repeat(bytes) }],
  ]),
  ['a ping with 126 bytes', [{ opcode: PING, payload: 'p'.repeat(126) }]],
  ['a ping in parts', [{ opcode: PING, payload: 'p', fin: false }]],
  ['a close in parts', [{ opcode: CLOSE, payload: closing(1000), fin: false }]],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode): [string, FrameFields[]] => [
    `the reserved opcode ${opcode}`,
    [{ opcode, payload: 'x' }],
  ]),
  ...[0b100, 0b010, 0b001, 0b111].map((reserved): [string, FrameFields[]] => [
    `the reserved bits ${reserved.toString(2).padStart(3, '0')}`,
    [{ opcode: TEXT, payload: 'x', reserved }],
  ]),
  ['a frame without a mask', [{ opcode: TEXT, payload: 'x', masked: false }]],
  ['a text that is no UTF-8', [{ opcode: TEXT, payload: NOT_UTF8 }]],
  [
    'a text that is no UTF-8 only in its second part',
    [
      { opcode: TEXT, payload: NOT_UTF8.subarray(0, 5), fin: false },
      { opcode: CONTINUATION, payload: NOT_UTF8.subarray(5) },
    ],
  ],
  [
    'a character that two parts share',
    [
      { opcode: TEXT, payload: Buffer.from('é').subarray(0, 1), fin: false },
      { opcode: CONTINUATION, payload: Buffer.from('é').subarray(1) },
    ],
  ],
  ['a longer length field than needed', [{ opcode: TEXT, payload: 'short', lengthBytes: 9 }]],
  ['a length with its highest bit set', [{ opcode: TEXT, lengthBytes: 9, claims: 1n << 63n }]],
  ['a close without a code', [{ opcode: CLOSE }]],
  ['a close with half a code', [{ opcode: CLOSE, payload: 'x' }]],
  ['a close with a reason', [{ opcode: CLOSE, payload: closing(1000, 'r'.repeat(123)) }]],
  ['a close with too long a reason', [{ opcode: CLOSE, payload: closing(1000, 'r'.repeat(124)) }]],
  ['a close whose reason is no UTF-8', [{ opcode: CLOSE, payload: closing(1000, NOT_UTF8) }]],
  ...[1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999].map(
    (code): [string, FrameFields[]] => [`a close with ${code}`, [{ opcode: CLOSE, payload: closing(code) }]],
  ),
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map((code): [string, FrameFields[]] => [
    `a close with ${code}, which may not be sent`,
    [{ opcode: CLOSE, payload: closing(code) }],
  ]),
  ['a text after the close', [GOODBYE, { opcode: TEXT, payload: 'too late' }]],
];

/** The same with permessage-deflate (RFC 7692). */
const COMPRESSED: [what: string, frames: FrameFields[]][] = [
  ['a compressed text', [{ opcode: TEXT, payload: deflated('hello hello hello'), reserved: 0b100 }]],
  ['a text that is not compressed', [{ opcode: TEXT, payload: 'plain' }]],
  [
    'a compressed text in parts',
    [
      { opcode: TEXT, payload: deflated('in parts').subarray(0, 3), reserved: 0b100, fin: false },
      { opcode: CONTINUATION, payload: deflated('in parts').subarray(3) },
    ],
  ],
  [
    'a continuation that says it is compressed',
    [
      { opcode: TEXT, payload: 'a', fin: false },
      { opcode: CONTINUATION, payload: 'b', reserved: 0b100 },
    ],
  ],
  ['a compressed ping', [{ opcode: PING, payload: 'p', reserved: 0b100 }]],
  ['what is not deflate', [{ opcode: TEXT, payload: Buffer.from([7, 7, 7, 7]), reserved: 0b100 }]],
  [
    'a small message that grows over the bound',
    [{ opcode: BINARY, payload: deflated('0'.repeat(LARGEST_BYTES + 1)), reserved: 0b100 }],
  ],
];

describe('WebSocket, byte by byte: the router changes no verdict', { timeout: 240_000 }, () => {
  let wire: Wire;
  let server: WebSocketServer;
  let port: number;

  before(async () => {
    wire = await startWire();
    server = new WebSocketServer({
      host: '127.0.0.1',
      port: 0,
      maxPayload: LARGEST_BYTES,
      perMessageDeflate: { threshold: 8, serverNoContextTakeover: true, clientNoContextTakeover: true },
    });
    await once(server, 'listening');
    ({ port } = server.address() as { port: number });
    server.on('connection', (socket) => {
      socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
      socket.on('error', () => {});
    });
  });
  afterEach(() => wire.tidy());
  after(async () => {
    for (const socket of server.clients) socket.terminate();
    server?.close();
    await wire?.close();
  });

  const upgrade = (extensions: boolean) => [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${KEY}`,
    ...(extensions
      ? ['Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover']
      : []),
  ];
  const directHead = (extensions: boolean) =>
    `GET / HTTP/1.1\r\n${['Host: sandbox', ...upgrade(extensions)].join('\r\n')}\r\n\r\n`;

  /** Everything that the server answers to some bytes until it ends, goodbye included. */
  async function verdict(client: RawConnection, head: string, bytes: Buffer, chunkBytes: number): Promise<object> {
    client.write(head);
    const answer = await client.takeHead();
    for (let at = 0; at < bytes.length; at += chunkBytes) client.write(bytes.subarray(at, at + chunkBytes));
    client.write(frame(GOODBYE));
    await client.untilClosed();
    return {
      status: answer.line,
      accept: answer.values('sec-websocket-accept'),
      extensions: answer.values('sec-websocket-extensions'),
      bytes: client.pending.toString('latin1'),
    };
  }

  async function compare(frames: FrameFields[], extensions: boolean, chunkBytes = Number.POSITIVE_INFINITY) {
    const bytes = Buffer.concat(frames.map(frame));
    const direct = await rawClient(`http://127.0.0.1:${port}`);
    try {
      const wanted = await verdict(direct, directHead(extensions), bytes, chunkBytes);
      const through = await wire.client();
      assert.deepEqual(
        await verdict(through, wire.head('GET /', port, upgrade(extensions)), bytes, chunkBytes),
        wanted,
      );
      return wanted as { status: string; bytes: string };
    } finally {
      direct.socket.destroy();
    }
  }

  describe('of a server on what its client sends', () => {
    for (const [what, frames] of CONVERSATIONS) it(what, async () => void (await compare(frames, false)));
    it('cut into single bytes', async () => {
      await compare(
        [
          { opcode: TEXT, payload: 'a'.repeat(130), fin: false },
          { opcode: PING, payload: 'p' },
          { opcode: CONTINUATION, payload: 'b' },
          { opcode: CLOSE, payload: closing(3000, 'done') },
        ],
        false,
        1,
      );
    });
    for (const [what, frames] of COMPRESSED)
      it(`with compression: ${what}`, async () => void (await compare(frames, true)));
    it('and they are told apart by it', async () => {
      const right = await compare([{ opcode: TEXT, payload: 'x' }], false);
      const wrong = await compare([{ opcode: 3, payload: 'x' }], false);
      assert.match(right.status, /101/);
      assert.notEqual(right.bytes, wrong.bytes);
      assert.ok(wrong.bytes.includes(closing(1002).toString('latin1')), 'a violation is told as 1002');
    });
  });

  describe('of a client on what its server sends', () => {
    /** Servers do not mask; what would be a client's fault is a server's too. */
    const turned = (frames: FrameFields[]) =>
      Buffer.concat(frames.map((fields) => frame({ ...fields, masked: fields.masked === false })));

    async function heard(url: string, headers: Record<string, string>): Promise<object> {
      const socket = new WebSocket(url, { headers, maxPayload: LARGEST_BYTES, perMessageDeflate: false });
      const messages: string[] = [];
      let failure: string | undefined;
      socket.on('message', (data: Buffer) => messages.push(`${data.length} ${data.toString('latin1').slice(0, 20)}`));
      for (const kind of ['ping', 'pong'] as const)
        socket.on(kind, (data: Buffer) => messages.push(`${kind} ${data.toString('latin1')}`));
      socket.on('error', (error: NodeJS.ErrnoException) => {
        failure = error.code ?? error.message;
      });
      return await new Promise((resolve) => {
        socket.on('close', (code, reason) => resolve({ messages, failure, code, reason: reason.toString() }));
      });
    }

    for (const [what, frames] of CONVERSATIONS)
      it(what, async () => {
        const sandbox = await wire.upstream(async (connection) => {
          const [key = ''] = (await connection.takeHead()).values('sec-websocket-key');
          connection.write(switching(key));
          connection.write(turned([...frames, GOODBYE]));
          await connection.untilClosed();
          connection.socket.end();
        });
        const authorization = `Bearer ${wire.token}`;
        const through = await heard(wire.urlOf(sandbox.port).replace('http', 'ws'), { authorization });
        assert.deepEqual(through, await heard(`ws://127.0.0.1:${sandbox.port}`, {}));
      });
  });
});

/** Head of a 101 that accepts this key (RFC 6455 section 4.2.2). */
function switching(key: string): string {
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
}
