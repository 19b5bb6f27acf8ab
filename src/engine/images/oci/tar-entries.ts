/** One file of a tar archive by its header. */
export interface TarEntry {
  path: string;
  kind: 'file' | 'hard-link' | 'symbolic-link' | 'device' | 'directory' | 'fifo';
  /** Where a link leads. */
  target: string;
}

/** A tar archive that is none, or that has what no image needs. */
export class TarError extends Error {}

const BLOCK_BYTES = 512;
/** Longest name that an extension may carry. */
const EXTENSION_LIMIT_BYTES = 1024 * 1024;
const KINDS: Readonly<Record<string, TarEntry['kind']>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hard-link',
  '2': 'symbolic-link',
  '3': 'device',
  '4': 'device',
  '5': 'directory',
  '6': 'fifo',
};

/**
 * The entries of a tar archive (ustar with the extensions of pax and GNU), read as Go's archive/tar does, which unpacks it afterwards: what is unusual enough for
 * two readers to see different files in it is an error. @throws TarError
 */
export async function* tarEntries(chunks: AsyncIterable<Buffer>): AsyncGenerator<TarEntry> {
  let pending: Buffer = Buffer.alloc(0);
  let skipBytes = 0;
  let extension: { type: string; bytes: number } | undefined;
  let renamed: { path?: string; target?: string; sizeBytes?: number } = {};
  let zeroBlocks = 0;
  for await (const chunk of chunks) {
    if (zeroBlocks === 2) continue;
    const skipped = Math.min(skipBytes, chunk.length);
    skipBytes -= skipped;
    if (skipped === chunk.length) continue;
    let buffer = pending.length === 0 ? chunk.subarray(skipped) : Buffer.concat([pending, chunk.subarray(skipped)]);
    while (buffer.length > 0 && zeroBlocks < 2) {
      if (extension !== undefined) {
        const wholeBytes = inBlocks(extension.bytes);
        if (buffer.length < wholeBytes) break;
        renamed = { ...renamed, ...readExtension(extension.type, buffer.subarray(0, extension.bytes)) };
        buffer = buffer.subarray(wholeBytes);
        extension = undefined;
        continue;
      }
      if (buffer.length < BLOCK_BYTES) break;
      const header = buffer.subarray(0, BLOCK_BYTES);
      buffer = buffer.subarray(BLOCK_BYTES);
      if (header.every((byte) => byte === 0)) {
        zeroBlocks++;
        continue;
      }
      if (zeroBlocks === 1) throw new TarError('something follows its end');
      const { type, sizeBytes, ...plain } = readHeader(header);
      if (type === 'x' || type === 'g' || type === 'L' || type === 'K') {
        if (sizeBytes > EXTENSION_LIMIT_BYTES) throw new TarError('a name of more than 1 MiB');
        extension = { type, bytes: sizeBytes };
        continue;
      }
      const kind = KINDS[type];
      if (kind === undefined)
        throw new TarError(type === 'S' ? 'a sparse file' : `an entry of unknown type ${JSON.stringify(type)}`);
      yield { kind, path: renamed.path ?? plain.path, target: renamed.target ?? plain.target };
      const bodyBytes = kind === 'file' ? inBlocks(renamed.sizeBytes ?? sizeBytes) : 0;
      renamed = {};
      const inBuffer = Math.min(bodyBytes, buffer.length);
      buffer = buffer.subarray(inBuffer);
      skipBytes = bodyBytes - inBuffer;
    }
    pending = buffer;
  }
  if (zeroBlocks < 2 && (skipBytes > 0 || extension !== undefined || pending.length > 0))
    throw new TarError('it ends in the middle');
}

function inBlocks(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}

function readHeader(header: Buffer): { type: string; sizeBytes: number; path: string; target: string } {
  let sum = 0;
  for (const [index, byte] of header.entries()) sum += index >= 148 && index < 156 ? 32 : byte;
  if (sum !== octal(header.subarray(148, 156))) throw new TarError('a header with a wrong checksum');
  const name = text(header.subarray(0, 100));
  const isUstar = header.subarray(257, 263).toString('latin1') === 'ustar\0';
  const prefix = isUstar ? text(header.subarray(345, 500)) : '';
  return {
    type: String.fromCharCode(header[156] ?? 0),
    sizeBytes: numeric(header.subarray(124, 136)),
    path: prefix === '' ? name : `${prefix}/${name}`,
    target: text(header.subarray(157, 257)),
  };
}

/** What an extension says of the next entry. Those for the whole archive ('g') nobody who unpacks images heeds. */
function readExtension(type: string, body: Buffer): { path?: string; target?: string; sizeBytes?: number } {
  if (type === 'L') return { path: text(body) };
  if (type === 'K') return { target: text(body) };
  if (type === 'g') return {};
  const records = paxRecords(body);
  for (const key of records.keys()) if (key.startsWith('GNU.sparse.')) throw new TarError('a sparse file');
  const size = records.get('size');
  if (size !== undefined && !/^\d{1,15}$/.test(size)) throw new TarError('a size that is no number');
  const [path, target] = [records.get('path'), records.get('linkpath')];
  return {
    ...(path === undefined || path === '' ? {} : { path }),
    ...(target === undefined || target === '' ? {} : { target }),
    ...(size === undefined ? {} : { sizeBytes: Number(size) }),
  };
}

/** `<length> <key>=<value>\n`, the length being that of all of it. */
function paxRecords(body: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let rest = body; rest.length > 0; ) {
    const space = rest.indexOf(' ');
    const length = Number(rest.subarray(0, Math.max(0, space)).toString());
    if (space < 1 || !Number.isSafeInteger(length) || length <= space || rest[length - 1] !== 10)
      throw new TarError('a pax record that is none');
    const record = rest.subarray(space + 1, length - 1).toString();
    const equals = record.indexOf('=');
    if (equals < 1) throw new TarError('a pax record that is none');
    records.set(record.slice(0, equals), record.slice(equals + 1));
    rest = rest.subarray(length);
  }
  return records;
}

function text(field: Buffer): string {
  const end = field.indexOf(0);
  return field.subarray(0, end === -1 ? field.length : end).toString();
}

function octal(field: Buffer): number {
  const digits = text(field).trim();
  if (!/^[0-7]*$/.test(digits)) throw new TarError('a number that is none');
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

/** Octal, or big-endian with the first bit set. */
function numeric(field: Buffer): number {
  if (((field[0] ?? 0) & 0x80) === 0) return octal(field);
  const value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, (field[0] ?? 0) & 0x7f);
  if (!Number.isSafeInteger(value)) throw new TarError('a size beyond all bounds');
  return value;
}
