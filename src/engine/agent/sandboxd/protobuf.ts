/** A message that breaks the wire format. */
export class ProtobufError extends Error {
  readonly code = 'protobuf_invalid';
}

/** One field of a message: a number for varints, bytes for everything that carries its length. */
export interface Field {
  number: number;
  value: bigint | Buffer;
}

/** Fields of a message in the order in which they came; fixed-size ones, which no message here has, are passed over. @throws ProtobufError */
export function readFields(message: Buffer): Field[] {
  const fields: Field[] = [];
  let position = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[position++];
      if (byte === undefined) throw new ProtobufError('the message ends within a number');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new ProtobufError('a number is too long');
  };
  const skip = (sizeBytes: number): number => {
    const start = position;
    position += sizeBytes;
    if (position > message.length) throw new ProtobufError('the message ends within a field');
    return start;
  };
  while (position < message.length) {
    const tag = varint();
    const number = Number(tag >> 3n);
    switch (Number(tag & 7n)) {
      case 0:
        fields.push({ number, value: varint() });
        break;
      case 2: {
        const start = skip(Number(varint()));
        fields.push({ number, value: message.subarray(start, position) });
        break;
      }
      case 1:
        skip(8);
        break;
      case 5:
        skip(4);
        break;
      default:
        throw new ProtobufError(`field ${number} has a wire type that does not exist`);
    }
  }
  return fields;
}

/** A varint field; int32 is sign-extended to 64 bits as the format asks. Zero, the default, is left out. */
export function numberField(number: number, value: number): Buffer {
  if (value === 0) return Buffer.alloc(0);
  return Buffer.concat([varintOf(BigInt(number << 3)), varintOf(BigInt.asUintN(64, BigInt(value)))]);
}

/** A bytes, string or message field; written even when it is empty, which tells which one of several is set. */
export function bytesField(number: number, value: Buffer): Buffer {
  return Buffer.concat([varintOf(BigInt((number << 3) | 2)), varintOf(BigInt(value.length)), value]);
}

/** The number of a varint as an int32 or uint32 within JavaScript's range. */
export function toInt32(value: Field['value']): number {
  return typeof value === 'bigint' ? Number(BigInt.asIntN(32, value)) : 0;
}

/** The bytes of a field that carries its length. @throws ProtobufError for a number */
export function toBytes(value: Field['value']): Buffer {
  if (typeof value === 'bigint') throw new ProtobufError('a number stands where bytes are wanted');
  return value;
}

function varintOf(value: bigint): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    const low = Number(rest & 0x7fn);
    if (rest < 0x80n) {
      bytes.push(low);
      return Buffer.from(bytes);
    }
    bytes.push(low | 0x80);
  }
}
