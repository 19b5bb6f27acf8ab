import { createSpdyHeaders } from './spdy-headers.ts';

/** A stream that the other side opened. */
export interface SpdyStream {
  readonly id: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  /** What to do with data, with the end of data, and when the stream is given up. Data waits for the promise of what came before. */
  onData: (chunk: Buffer) => Promise<void> | void;
  onEnd: () => void;
  onReset: () => void;
  send(chunk: Buffer): Promise<void>;
  /** No more data from here. */
  end(): void;
  reset(): void;
}

/** The accepting side of one SPDY/3.1 connection. */
export interface SpdyConnection {
  /** Takes bytes of the other side, in order; resolves once they are dealt with. @throws Error for what is no SPDY/3.1 */
  receive(bytes: Buffer): Promise<void>;
  /** The connection is gone: every stream is reset. */
  close(): void;
}

const VERSION = 3;
const CONTROL = 0x8000_0000;
const FIN = 1;
const SYN_STREAM = 1;
const SYN_REPLY = 2;
const RST_STREAM = 3;
const PING = 6;
const HEADER_BYTES = 8;
/** RST_STREAM status for a stream that is not wanted any more. */
const CANCEL = 5;
/** Longest frame taken. Kubernetes' clients send 32 KiB at a time. */
const FRAME_LIMIT_BYTES = 4 * 1024 * 1024;
const STREAM_LIMIT = 1000;

/**
 * As much of SPDY/3.1 as Kubernetes' clients speak: streams that they open, data both ways, half-closes, resets, pings. There is no flow control, as
 * their library (moby/spdystream) has none: a stream that isn't read holds back the whole connection.
 */
export function createSpdyConnection(
  send: (frame: Buffer) => Promise<void>,
  opened: (stream: SpdyStream) => void,
): SpdyConnection {
  const headers = createSpdyHeaders();
  const streams = new Map<number, SpdyStream & { ended: { here: boolean; there: boolean } }>();
  let unread: Buffer = Buffer.alloc(0);

  const sendQuietly = (frame: Buffer) => void send(frame).catch(() => {});

  function forgetIfDone(stream: { id: number; ended: { here: boolean; there: boolean } }): void {
    if (stream.ended.here && stream.ended.there) streams.delete(stream.id);
  }

  async function open(flags: number, body: Buffer): Promise<void> {
    const id = body.readUInt32BE(0) & 0x7fff_ffff;
    const found = await headers.unpack(body.subarray(10));
    if (streams.has(id) || streams.size >= STREAM_LIMIT) return sendQuietly(resetFrame(id));
    const ended = { here: false, there: (flags & FIN) !== 0 };
    const stream = {
      id,
      headers: found,
      ended,
      onData: () => {},
      onEnd: () => {},
      onReset: () => {},
      send: async (chunk: Buffer) => {
        if (!ended.here) await send(dataFrame(id, 0, chunk));
      },
      end: () => {
        if (ended.here) return;
        ended.here = true;
        sendQuietly(dataFrame(id, FIN, Buffer.alloc(0)));
        forgetIfDone(stream);
      },
      reset: () => {
        if (!streams.delete(id)) return;
        ended.here = true;
        sendQuietly(resetFrame(id));
      },
    };
    streams.set(id, stream);
    const reply = Buffer.alloc(4);
    reply.writeUInt32BE(id);
    await send(controlFrame(SYN_REPLY, 0, Buffer.concat([reply, await headers.pack(new Map())])));
    opened(stream);
  }

  async function control(type: number, flags: number, body: Buffer): Promise<void> {
    if (type === SYN_STREAM) await open(flags, body);
    else if (type === PING) await send(controlFrame(PING, 0, body));
    else if (type === RST_STREAM) {
      const stream = streams.get(body.readUInt32BE(0) & 0x7fff_ffff);
      if (stream === undefined) return;
      streams.delete(stream.id);
      stream.ended.here = true;
      stream.onReset();
    }
    // SETTINGS, GOAWAY, HEADERS and WINDOW_UPDATE ask for nothing here.
  }

  async function data(id: number, flags: number, chunk: Buffer): Promise<void> {
    const stream = streams.get(id);
    if (stream === undefined || stream.ended.there) return;
    if (chunk.length > 0) await stream.onData(chunk);
    if ((flags & FIN) === 0) return;
    stream.ended.there = true;
    stream.onEnd();
    forgetIfDone(stream);
  }

  return {
    async receive(bytes) {
      unread = unread.length === 0 ? bytes : Buffer.concat([unread, bytes]);
      while (unread.length >= HEADER_BYTES) {
        const first = unread.readUInt32BE(0);
        const flags = unread.readUInt8(4);
        const length = unread.readUIntBE(5, 3);
        if (length > FRAME_LIMIT_BYTES) throw new Error(`a SPDY frame of ${length} bytes`);
        if (unread.length < HEADER_BYTES + length) return;
        const body = unread.subarray(HEADER_BYTES, HEADER_BYTES + length);
        unread = unread.subarray(HEADER_BYTES + length);
        if (first < CONTROL) await data(first, flags, body);
        else if (((first >>> 16) & 0x7fff) !== VERSION) throw new Error('a frame of another version than SPDY/3');
        else await control(first & 0xffff, flags, body);
      }
    },
    close() {
      headers.close();
      for (const stream of [...streams.values()]) {
        streams.delete(stream.id);
        stream.ended.here = true;
        stream.onReset();
      }
    },
  };
}

function controlFrame(type: number, flags: number, body: Buffer): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUInt16BE(0x8000 | VERSION, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt8(flags, 4);
  head.writeUIntBE(body.length, 5, 3);
  return Buffer.concat([head, body]);
}

function dataFrame(id: number, flags: number, chunk: Buffer): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUInt32BE(id, 0);
  head.writeUInt8(flags, 4);
  head.writeUIntBE(chunk.length, 5, 3);
  return Buffer.concat([head, chunk]);
}

function resetFrame(id: number): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt32BE(id, 0);
  body.writeUInt32BE(CANCEL, 4);
  return controlFrame(RST_STREAM, 0, body);
}
