import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageRoot } from '../images.ts';

/** An unpacked image as it is kept beside its files. */
export type StoredImage = Omit<ImageRoot, 'root'> & Required<Pick<ImageRoot, 'pulled'>>;

/**
 * Unpacked images by the digest of their manifest, the blobs that they were made of by their own (so that images share layers when they are fetched), and which
 * name was last found to be which of them. Whatever appears, appears whole: it is made elsewhere and renamed.
 */
export interface ImageCache {
  /** Where blobs lie: `sha256/<hex>` below it. */
  blobsDirectory: string;
  blobPath(digest: string): string;
  /** The unpacked image of a manifest. */
  image(digest: string): ImageRoot | undefined;
  /** The unpacked image that a canonical name was last found to be. */
  named(name: string): ImageRoot | undefined;
  name(name: string, digest: string): void;
  /** Takes in what was unpacked in `directory`/rootfs. */
  add(directory: string, image: StoredImage): ImageRoot;
  discardBlobs(digests: readonly string[]): void;
  /** A directory for one pull; what a killed engine left there is removed at the next start. */
  workDirectory(): string;
}

const STORED = 'image.json';

/** A cache below a directory. */
export function createImageCache(directory: string): ImageCache {
  const blobsDirectory = join(directory, 'blobs');
  const roots = join(directory, 'roots');
  const names = join(directory, 'names');
  const work = join(directory, 'work');
  rmSync(work, { recursive: true, force: true });
  for (const path of [directory, join(blobsDirectory, 'sha256'), roots, names, work])
    mkdirSync(path, { recursive: true, mode: 0o700 });
  const hexOf = (digest: string) => /^sha256:([a-f0-9]{64})$/.exec(digest)?.[1];
  const rootOf = (digest: string) => join(roots, hexOf(digest) ?? 'none');
  const nameOf = (name: string) => join(names, createHash('sha256').update(name).digest('hex'));
  const blobPath = (digest: string) => {
    const hex = hexOf(digest);
    if (hex === undefined) throw new Error(`${JSON.stringify(digest.slice(0, 100))} is no SHA-256 digest`);
    return join(blobsDirectory, 'sha256', hex);
  };

  function image(digest: string): ImageRoot | undefined {
    const path = join(rootOf(digest), STORED);
    if (!existsSync(path)) return undefined;
    const stored = JSON.parse(readFileSync(path, 'utf8')) as StoredImage;
    return { ...stored, root: { path: join(rootOf(digest), 'rootfs'), mounts: [] } };
  }

  return {
    blobsDirectory,
    blobPath,
    image,
    named: (name) => {
      const path = nameOf(name);
      return existsSync(path) ? image(readFileSync(path, 'utf8').split('\n')[0] ?? '') : undefined;
    },
    name: (name, digest) => {
      writeFileSync(`${nameOf(name)}.new`, `${digest}\n${name}\n`, { mode: 0o600 });
      renameSync(`${nameOf(name)}.new`, nameOf(name));
    },
    add: (unpacked, stored) => {
      const { digest } = stored.pulled;
      writeFileSync(join(unpacked, STORED), JSON.stringify(stored), { mode: 0o600 });
      if (image(digest) === undefined) renameSync(unpacked, rootOf(digest));
      return image(digest) as ImageRoot;
    },
    discardBlobs: (digests) => {
      for (const digest of digests) rmSync(blobPath(digest), { force: true });
    },
    workDirectory: () => mkdtempSync(join(work, 'pull-')),
  };
}
