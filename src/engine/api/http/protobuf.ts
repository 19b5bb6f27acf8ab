import { badRequest } from '../errors.ts';

/** How one field of a message is read. */
export type FieldType =
  | 'string'
  | 'bytes'
  | 'integer'
  | 'boolean'
  | 'time'
  | 'intOrString'
  | { message: Message }
  | { repeated: 'string' | { message: Message } }
  | { map: 'string' | 'bytes' };

/** Fields of a message by number: name and type. Numbers not listed are skipped. */
export type Message = Record<number, [name: string, type: FieldType]>;

/** What frames an object: type and encoded content (k8s.io/apimachinery pkg/runtime, Unknown). */
export interface Envelope {
  apiVersion: string;
  kind: string;
  content: Buffer;
}

const MAGIC = Buffer.from([0x6b, 0x38, 0x73, 0x00]);
const TYPE_META: Message = { 1: ['apiVersion', 'string'], 2: ['kind', 'string'] };
const MAP_ENTRY = (value: 'string' | 'bytes'): Message => ({ 1: ['key', 'string'], 2: ['value', value] });

/** Takes the frame off an object in `application/vnd.kubernetes.protobuf`. @throws ApiError BadRequest */
export function readEnvelope(body: Buffer): Envelope {
  if (!body.subarray(0, 4).equals(MAGIC))
    throw badRequest('provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]');
  let type: Record<string, unknown> = {};
  let content: Buffer = Buffer.alloc(0);
  for (const [number, value] of fieldsOf(body.subarray(4))) {
    if (number === 1 && Buffer.isBuffer(value)) type = readMessage(TYPE_META, value);
    if (number === 2 && Buffer.isBuffer(value)) content = value;
  }
  return { apiVersion: String(type.apiVersion ?? ''), kind: String(type.kind ?? ''), content };
}

/**
 * Reads a message into its JSON form. Empty strings and empty messages are left out: the encoder writes them for fields that are not
 * set. @throws ApiError BadRequest
 */
export function readMessage(message: Message, bytes: Buffer): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [number, value] of fieldsOf(bytes)) {
    const field = message[number];
    if (field === undefined) continue;
    const [name, type] = field;
    if (typeof type === 'object' && 'repeated' in type) {
      const items = (result[name] as unknown[] | undefined) ?? [];
      items.push(
        type.repeated === 'string' ? bufferOf(value).toString() : readMessage(type.repeated.message, bufferOf(value)),
      );
      result[name] = items;
    } else if (typeof type === 'object' && 'map' in type) {
      const { key = '', value: content = '' } = readMessage(MAP_ENTRY(type.map), bufferOf(value)) as {
        key?: string;
        value?: string;
      };
      result[name] = Object.assign((result[name] as object | undefined) ?? {}, { [key]: content });
    } else {
      const read = readField(type, value);
      if (read !== undefined) result[name] = read;
    }
  }
  return result;
}

function readField(
  type: Exclude<FieldType, { repeated: unknown } | { map: unknown }>,
  value: Buffer | bigint,
): unknown {
  switch (type) {
    case 'string':
      return bufferOf(value).toString() || undefined;
    case 'bytes':
      return bufferOf(value).toString('base64');
    case 'integer':
      return Number(BigInt.asIntN(64, integerOf(value)));
    case 'boolean':
      return integerOf(value) !== 0n;
    case 'time': {
      const { seconds, nanos = 0 } = readMessage(
        { 1: ['seconds', 'integer'], 2: ['nanos', 'integer'] },
        bufferOf(value),
      ) as {
        seconds?: number;
        nanos?: number;
      };
      return seconds === undefined ? undefined : new Date(seconds * 1000 + nanos / 1e6).toISOString();
    }
    case 'intOrString': {
      const read = readMessage(
        { 1: ['type', 'integer'], 2: ['integer', 'integer'], 3: ['string', 'string'] },
        bufferOf(value),
      );
      // A port that is 0 was not set.
      return read.type === 1 ? read.string : read.integer === 0 ? undefined : read.integer;
    }
    default: {
      const read = readMessage(type.message, bufferOf(value));
      return Object.keys(read).length === 0 ? undefined : read;
    }
  }
}

function bufferOf(value: Buffer | bigint): Buffer {
  if (!Buffer.isBuffer(value)) throw badRequest('malformed protobuf: a number where bytes belong');
  return value;
}

function integerOf(value: Buffer | bigint): bigint {
  if (Buffer.isBuffer(value)) throw badRequest('malformed protobuf: bytes where a number belongs');
  return value;
}

function* fieldsOf(bytes: Buffer): Generator<[number: number, value: Buffer | bigint]> {
  let position = 0;
  const varint = (): bigint => {
    let result = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[position++];
      if (byte === undefined) throw badRequest('malformed protobuf: cut short');
      result |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return result;
    }
    throw badRequest('malformed protobuf: endless number');
  };
  const take = (length: number): Buffer => {
    if (length > bytes.length - position) throw badRequest('malformed protobuf: cut short');
    position += length;
    return bytes.subarray(position - length, position);
  };
  while (position < bytes.length) {
    const tag = varint();
    const number = Number(tag >> 3n);
    const wireType = Number(tag & 7n);
    if (wireType === 0) yield [number, varint()];
    else if (wireType === 2) yield [number, take(Number(varint()))];
    else if (wireType === 1) take(8);
    else if (wireType === 5) take(4);
    else throw badRequest(`malformed protobuf: unknown wire type ${wireType}`);
  }
}
