/** Reading and writing DNS messages (RFC 1035), as far as a forwarder that looks into answers needs it. */

/** Type numbers. */
export const RECORD = { A: 1, CNAME: 5, AAAA: 28 } as const;
/** Response codes (RFC 1035 section 4.1.1). */
export const RESPONSE = { noError: 0, formatError: 1, serverFailure: 2, noSuchName: 3, refused: 5 } as const;

const HEADER_BYTES = 12;
const IN = 1;

/** The one question of a query. */
export interface Question {
  id: number;
  /** In lower case, without the last dot. */
  name: string;
  type: number;
  class: number;
  /** Where the question ends in the message. */
  end: number;
}

/** An address in an answer. */
export interface AddressRecord {
  address: string;
  ttlSeconds: number;
}

/** A message that is no DNS message. */
export class DnsFormatError extends Error {
  readonly code = 'dns_format';
}

/** The question of a standard query. @throws DnsFormatError for responses, other operations and anything but one question */
export function readQuery(message: Buffer): Question {
  if (message.length < HEADER_BYTES) throw new DnsFormatError('the message is too short');
  const flags = message.readUInt16BE(2);
  if ((flags & 0xf800) !== 0) throw new DnsFormatError('the message is no standard query');
  return readQuestion(message);
}

function readQuestion(message: Buffer): Question {
  if (message.length < HEADER_BYTES || message.readUInt16BE(4) !== 1)
    throw new DnsFormatError('the message has not exactly one question');
  const { name, next } = readName(message, HEADER_BYTES);
  if (next + 4 > message.length) throw new DnsFormatError('the question is cut off');
  return {
    id: message.readUInt16BE(0),
    name,
    type: message.readUInt16BE(next),
    class: message.readUInt16BE(next + 2),
    end: next + 4,
  };
}

/** True for the response to that question: same name, type and class. Never throws. */
export function isAnswerTo(message: Buffer, question: Question, id: number): boolean {
  try {
    if ((message.readUInt16BE(2) & 0x8000) === 0 || message.readUInt16BE(0) !== id) return false;
    const found = readQuestion(message);
    return found.name === question.name && found.type === question.type && found.class === question.class;
  } catch {
    return false;
  }
}

/** Whether a response was cut off and is to be asked for again over TCP. */
export function isTruncated(message: Buffer): boolean {
  return (message.readUInt16BE(2) & 0x0200) !== 0;
}

/** IPv4 addresses that a response gives for its question: of the name itself and of those that its aliases lead to. @throws DnsFormatError */
export function addressesIn(message: Buffer): AddressRecord[] {
  const question = readQuestion(message);
  const names = new Set([question.name]);
  const found: AddressRecord[] = [];
  let offset = question.end;
  let aliasTtlSeconds = Number.POSITIVE_INFINITY;
  for (let left = message.readUInt16BE(6); left > 0; left--) {
    const { name, next } = readName(message, offset);
    if (next + 10 > message.length) throw new DnsFormatError('a record is cut off');
    const type = message.readUInt16BE(next);
    const recordClass = message.readUInt16BE(next + 2);
    const ttlSeconds = message.readUInt32BE(next + 4);
    const length = message.readUInt16BE(next + 8);
    const data = next + 10;
    offset = data + length;
    if (offset > message.length) throw new DnsFormatError('the data of a record is cut off');
    if (recordClass !== IN || !names.has(name)) continue;
    if (type === RECORD.CNAME) {
      names.add(readName(message, data).name);
      aliasTtlSeconds = Math.min(aliasTtlSeconds, ttlSeconds);
    }
    if (type === RECORD.A && length === 4)
      found.push({
        address: [...message.subarray(data, offset)].join('.'),
        ttlSeconds: Math.min(ttlSeconds, aliasTtlSeconds),
      });
  }
  return found;
}

/** A response to a query: its header and question, a code, and addresses where there are any. */
export function writeAnswer(
  query: Buffer,
  question: Question | undefined,
  code: number,
  addresses: readonly AddressRecord[] = [],
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  query.copy(header, 0, 0, Math.min(2, query.length));
  const recursionDesired = query.length > 2 ? query.readUInt8(2) & 0x01 : 0;
  header.writeUInt16BE(0x8080 | (recursionDesired << 8) | code, 2);
  header.writeUInt16BE(question === undefined ? 0 : 1, 4);
  header.writeUInt16BE(addresses.length, 6);
  const records = addresses.map(({ address, ttlSeconds }) => {
    const record = Buffer.alloc(16);
    // The name is that of the question, by a pointer to it.
    record.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
    record.writeUInt16BE(RECORD.A, 2);
    record.writeUInt16BE(IN, 4);
    record.writeUInt32BE(ttlSeconds, 6);
    record.writeUInt16BE(4, 10);
    Buffer.from(address.split('.').map(Number)).copy(record, 12);
    return record;
  });
  const asked = question === undefined ? Buffer.alloc(0) : query.subarray(HEADER_BYTES, question.end);
  return Buffer.concat([header, asked, ...records]);
}

/** A name that may be compressed (RFC 1035 section 4.1.4); `next` is what follows it where it stands. */
function readName(message: Buffer, start: number): { name: string; next: number } {
  const labels: string[] = [];
  let offset = start;
  let next: number | undefined;
  let length = 0;
  for (let jumps = 0; ; ) {
    const size = message[offset];
    if (size === undefined) throw new DnsFormatError('a name is cut off');
    if (size === 0) return { name: labels.join('.').toLowerCase(), next: next ?? offset + 1 };
    if ((size & 0xc0) === 0xc0) {
      if (offset + 1 >= message.length || ++jumps > 32) throw new DnsFormatError('a name leads nowhere');
      next ??= offset + 2;
      offset = message.readUInt16BE(offset) & 0x3fff;
      continue;
    }
    length += size + 1;
    if (size > 63 || length > 255 || offset + 1 + size > message.length) throw new DnsFormatError('a name is too long');
    labels.push(message.toString('latin1', offset + 1, offset + 1 + size));
    offset += size + 1;
  }
}
