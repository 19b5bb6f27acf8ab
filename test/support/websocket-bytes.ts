/** RFC 6455 frames as bytes, right and wrong alike: a test says what is in each field. */
export interface FrameFields {
  opcode: number;
  payload?: Buffer | string;
  /** Last of its message; true unless said. */
  fin?: boolean;
  /** The three reserved bits, as in 0b100 for RSV1. */
  reserved?: number;
  /** As clients must and servers must not; true unless said. */
  masked?: boolean;
  /** Bytes of the length field: 1, 3 or 9; as few as do unless said. */
  lengthBytes?: 1 | 3 | 9;
  /** Length that the frame claims, where it lies. */
  claims?: bigint;
}

/** Opcodes of section 5.2. */
export const CONTINUATION = 0;
export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

/** Fixed, so that what is sent twice is the same. */
const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

/** One frame (section 5.2). */
export function frame({ opcode, payload = '', fin = true, reserved = 0, masked = true, ...rest }: FrameFields): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload) : payload;
  const lengthBytes = rest.lengthBytes ?? (body.length < 126 ? 1 : body.length < 65_536 ? 3 : 9);
  const head = Buffer.alloc(1 + lengthBytes);
  head[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  const length = rest.claims ?? BigInt(body.length);
  const mark = masked ? 0x80 : 0;
  if (lengthBytes === 1) head[1] = mark | Number(length);
  else if (lengthBytes === 3) {
    head[1] = mark | 126;
    head.writeUInt16BE(Number(length), 2);
  } else {
    head[1] = mark | 127;
    head.writeBigUInt64BE(length, 2);
  }
  if (!masked) return Buffer.concat([head, body]);
  const hidden = Buffer.from(body);
  for (let index = 0; index < hidden.length; index++) hidden[index] = (hidden[index] ?? 0) ^ (MASK[index % 4] ?? 0);
  return Buffer.concat([head, MASK, hidden]);
}

/** Payload of a Close frame (section 5.5.1). */
export function closing(code: number, reason: string | Buffer = ''): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(code);
  return Buffer.concat([head, Buffer.from(reason)]);
}
