import { createReadStream } from 'node:fs';
import { PassThrough, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { type TarEntry, TarError, tarEntries } from './tar-entries.ts';

/** What the files of one image may come to. */
export interface UnpackLimits {
  bytes: number;
  files: number;
}

/** What is left of the limits, layer after layer. */
export interface UnpackBudget {
  bytesLeft: number;
  filesLeft: number;
}

const CHUNK_BYTES = 256 * 1024;
const PATH_LIMIT = 4096;

/**
 * Reads a layer before it is unpacked: how much it unpacks to, and that no name in it leads out of the root. umoci keeps to the root, too, but knows no bounds.
 * @throws TarError that names the entry or the bound
 */
export async function inspectLayer(path: string, mediaType: string, budget: UnpackBudget): Promise<void> {
  const counted = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      budget.bytesLeft -= chunk.length;
      if (budget.bytesLeft >= 0) done(null, chunk);
      else done(new TarError('it unpacks to more bytes than an image may have'));
    },
  });
  const decompressor = decompressorOf(mediaType);
  await pipeline(
    createReadStream(path, { highWaterMark: CHUNK_BYTES }),
    decompressor,
    counted,
    async (chunks: AsyncIterable<Buffer>) => {
      for await (const entry of tarEntries(chunks)) {
        if (--budget.filesLeft < 0) throw new TarError('it has more files than an image may have');
        checkEntry(entry);
      }
    },
  );
}

function decompressorOf(mediaType: string): Transform {
  if (/[.+]gzip$/.test(mediaType)) return createGunzip({ chunkSize: CHUNK_BYTES });
  if (mediaType.endsWith('+zstd')) return createZstdDecompress({ chunkSize: CHUNK_BYTES });
  if (mediaType.endsWith('.tar')) return new PassThrough();
  throw new TarError(`its kind ${JSON.stringify(mediaType)} is none that can be unpacked`);
}

/** @throws TarError for an entry whose name leads out of the root */
export function checkEntry({ path, kind, target }: TarEntry): void {
  const named = JSON.stringify(path.slice(0, 200));
  if (path.includes('\0') || path.length > PATH_LIMIT || target.length > PATH_LIMIT)
    throw new TarError(`${named} is no name of a file`);
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new TarError(`${named} leads out of the root`);
  if (parts.length === 0 && kind !== 'directory') throw new TarError('its root is not a directory');
  // `.wh.<name>` removes <name> of an earlier layer.
  if (parts.some((part) => /^\.wh\.\.{0,2}$/.test(part)))
    throw new TarError(`${named} would remove what is not in the root`);
  // Symbolic links may lead anywhere: they are followed inside the sandbox only, and by umoci below the root.
  if (kind === 'hard-link' && (target === '' || target.split('/').includes('..')))
    throw new TarError(`${named} is a hard link that leads out of the root`);
}
