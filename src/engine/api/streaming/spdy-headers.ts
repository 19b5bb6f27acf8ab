import { constants, createDeflate, createInflate } from 'node:zlib';
import { SPDY_DICTIONARY } from './spdy-dictionary.ts';

/** Most bytes that the headers of one stream may have, unpacked. Those of Kubernetes have some 60. */
const HEADER_LIMIT_BYTES = 16_384;

/** Packs and unpacks the header blocks of one SPDY connection: each direction is one zlib stream from its first block to its last. */
export interface SpdyHeaders {
  /** @throws Error for a block that is no SPDY/3 header block or is too large */
  unpack(block: Buffer): Promise<Map<string, string>>;
  pack(headers: ReadonlyMap<string, string>): Promise<Buffer>;
  close(): void;
}

/** The headers of a new connection. */
export function createSpdyHeaders(): SpdyHeaders {
  const chunkSize = 2 * HEADER_LIMIT_BYTES;
  const inflate = createInflate({ dictionary: SPDY_DICTIONARY, chunkSize, finishFlush: constants.Z_SYNC_FLUSH });
  const deflate = createDeflate({ dictionary: SPDY_DICTIONARY, chunkSize });
  let broken: Error | undefined;
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  for (const stream of [inflate, deflate])
    stream.on('error', (error) => {
      broken = error;
      failed.reject(error);
    });

  return {
    async unpack(block) {
      if (broken !== undefined) throw broken;
      const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
      // More than a chunk of output is never read here: it would only pile up.
      const tooLarge = () => reject(new Error(`SPDY headers of more than ${HEADER_LIMIT_BYTES} bytes`));
      let unpacked = Buffer.alloc(0);
      const take = (chunk: Buffer) => {
        unpacked = Buffer.concat([unpacked, chunk]);
        if (unpacked.length <= HEADER_LIMIT_BYTES) return;
        inflate.destroy();
        tooLarge();
      };
      inflate.on('data', take);
      inflate.write(block);
      inflate.flush(constants.Z_SYNC_FLUSH, () => setImmediate(() => resolve(unpacked)));
      try {
        return parse(await Promise.race([promise, failed.promise]));
      } finally {
        inflate.off('data', take);
      }
    },
    async pack(headers) {
      if (broken !== undefined) throw broken;
      const { promise, resolve } = Promise.withResolvers<void>();
      deflate.write(serialise(headers));
      deflate.flush(constants.Z_SYNC_FLUSH, () => resolve());
      await Promise.race([promise, failed.promise]);
      return (deflate.read() as Buffer | null) ?? Buffer.alloc(0);
    },
    close() {
      inflate.destroy();
      deflate.destroy();
    },
  };
}

function serialise(headers: ReadonlyMap<string, string>): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(headers.size);
  return Buffer.concat([count, ...[...headers].flat().flatMap((text) => withLength(Buffer.from(text)))]);
}

function withLength(bytes: Buffer): Buffer[] {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return [length, bytes];
}

function parse(block: Buffer): Map<string, string> {
  const headers = new Map<string, string>();
  let position = 4;
  const next = (): string => {
    const length = block.readUInt32BE(position);
    const start = position + 4;
    position = start + length;
    if (position > block.length) throw new Error('a SPDY header reaches beyond its block');
    return block.toString('utf8', start, position);
  };
  for (let left = block.readUInt32BE(0); left > 0; left--) headers.set(next().toLowerCase(), next());
  return headers;
}
