/** Takes the bytes of a part as they come. */
export interface PartSink {
  write(chunk: Buffer): Promise<void>;
  end(): Promise<void>;
}

/** A body that is not multipart/form-data as RFC 7578 has it. */
export class MultipartError extends Error {
  readonly code = 'bad_multipart';
}

const MOST_HEADER_BYTES = 16_384;
const HEADER_END = Buffer.from('\r\n\r\n');

/**
 * Reads multipart/form-data as a stream, in constant memory. `open` gets the field and file name of each part that has one and returns where its bytes go;
 * undefined drops them. @throws MultipartError
 */
export async function readMultipart(
  contentType: string | undefined,
  body: AsyncIterable<Buffer>,
  open: (field: string, fileName: string) => Promise<PartSink | undefined>,
): Promise<void> {
  const boundary = /^multipart\/form-data\s*;.*\bboundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType ?? '');
  const name = boundary?.[1] ?? boundary?.[2];
  if (name === undefined) throw new MultipartError('multipart/form-data with a boundary is wanted');
  const delimiter = Buffer.from(`\r\n--${name}`);
  // The first delimiter has no line break before it; this one makes it like the others.
  let rest: Buffer = Buffer.from('\r\n');
  let sink: PartSink | undefined;
  let state = 'preamble' as 'preamble' | 'headers' | 'content' | 'done';

  for await (const chunk of body) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let progress = true; progress; ) progress = await step();
  }
  if (state !== 'done') throw new MultipartError('the body ends in the middle of a part');

  async function step(): Promise<boolean> {
    if (state === 'done') {
      rest = Buffer.alloc(0);
      return false;
    }
    if (state === 'headers') return await headers();
    const at = rest.indexOf(delimiter);
    const contentEnd = at >= 0 ? at : Math.max(0, rest.length - delimiter.length);
    if (state === 'content' && contentEnd > 0) await sink?.write(rest.subarray(0, contentEnd));
    if (at < 0) {
      rest = rest.subarray(contentEnd);
      return false;
    }
    if (rest.length < at + delimiter.length + 2) {
      rest = rest.subarray(at);
      return false;
    }
    if (state === 'content') await sink?.end();
    sink = undefined;
    const after = rest.subarray(at + delimiter.length, at + delimiter.length + 2).toString('latin1');
    rest = rest.subarray(at + delimiter.length + 2);
    if (after === '--') state = 'done';
    else if (after === '\r\n') state = 'headers';
    else throw new MultipartError('a boundary is not followed by a line break');
    return true;
  }

  async function headers(): Promise<boolean> {
    const end = rest.indexOf(HEADER_END);
    if (end < 0) {
      if (rest.length > MOST_HEADER_BYTES) throw new MultipartError('the headers of a part are too long');
      return false;
    }
    const text = rest.subarray(0, end).toString('utf8');
    rest = rest.subarray(end + HEADER_END.length);
    // The content may be empty: then the delimiter's line break is the headers' own last one.
    rest = Buffer.concat([Buffer.from('\r\n'), rest]).subarray(rest.indexOf(delimiter.subarray(2)) === 0 ? 0 : 2);
    const disposition = /^content-disposition:\s*form-data\s*;(.*)$/im.exec(text)?.[1] ?? '';
    const parameter = (key: string) =>
      new RegExp(`(?:^|;|\\s)${key}="((?:[^"\\\\]|\\\\.)*)"`, 'i')
        .exec(disposition)?.[1]
        ?.replace(/\\(.)/g, '$1')
        .replace(/%22/g, '"');
    const fileName = parameter('filename');
    sink = fileName === undefined ? undefined : await open(parameter('name') ?? '', fileName);
    state = 'content';
    return true;
  }
}
