import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A frame of HTTP/2 (RFC 9113 section 4.1). */
export interface Frame {
  type: number;
  flags: number;
  streamId: number;
  payload: Buffer;
}

/** A connection whose frames a test writes and reads one by one. */
export interface FrameReader {
  socket: Socket;
  write(bytes: Buffer): void;
  /** The next frame of a type; others before it are passed over. @throws Error if the connection ends without one */
  until(type: number): Promise<Frame>;
  /** Waits until the other side has ended the connection. */
  closed(): Promise<void>;
}

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const PATIENCE_MS = 10_000;

/** A frame as bytes. */
export function frame(type: number, flags: number, streamId: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** Fields as literals that no table keeps (RFC 7541 section 6.2.2). */
export function headerBlock(fields: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(Object.entries(fields).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  const length: number[] = [];
  if (bytes.length < 127) length.push(bytes.length);
  else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest >>= 7) length.push((rest & 0x7f) | 0x80);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** Connects, and says that it speaks HTTP/2. */
export async function rawHttp2(url: string): Promise<FrameReader> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  socket.on('error', () => {});
  await once(socket, 'connect');
  const frames: Frame[] = [];
  let pending = Buffer.alloc(0);
  let tell = () => {};
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 9 && pending.length >= 9 + pending.readUIntBE(0, 3)) {
      const end = 9 + pending.readUIntBE(0, 3);
      frames.push({
        type: pending.readUInt8(3),
        flags: pending.readUInt8(4),
        streamId: pending.readUInt32BE(5),
        payload: pending.subarray(9, end),
      });
      pending = pending.subarray(end);
    }
    tell();
  });
  socket.on('close', () => tell());
  const wait = <Value>(what: string, probe: () => Value | undefined) =>
    new Promise<Value>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${what} within ${PATIENCE_MS} ms`)), PATIENCE_MS);
      tell = () => {
        const value = probe();
        if (value === undefined && !socket.destroyed) return;
        clearTimeout(timer);
        if (value === undefined) reject(new Error(`the connection ended without ${what}`));
        else resolve(value);
      };
      tell();
    });
  socket.write(Buffer.concat([Buffer.from(PREFACE), frame(4, 0, 0)]));
  return {
    socket,
    write: (bytes) => void socket.write(bytes),
    until: (type) =>
      wait(`frame of type ${type}`, () => {
        const at = frames.findIndex((each) => each.type === type);
        return at < 0 ? undefined : frames.splice(0, at + 1).at(-1);
      }),
    closed: () => wait('an end', () => (socket.destroyed ? true : undefined)).then(() => {}),
  };
}
