import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ImageRoot } from '../images.ts';

/** An unpacked image as it is kept beside its files. */
export type StoredImage = Omit<ImageRoot, 'root'> & Required<Pick<ImageRoot, 'pulled'>>;

/** An unpacked image, and what is known of it. */
export interface CachedImage {
  image: StoredImage;
  /** When somebody asked for it last, in milliseconds of the epoch. */
  usedAtMs: number;
  /** Digests of the blobs that it was made of, as far as they are still there. */
  blobs: string[];
}

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
  /** Somebody asked for an image: others go before it. */
  touch(digest: string): void;
  images(): CachedImage[];
  /** Sizes of all blobs by digest. */
  blobs(): Map<string, number>;
  /** Removes an unpacked image: it is not there any more at once, and its room on the disk is free when this resolves. */
  remove(digest: string): Promise<void>;
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

  function blobsOf(manifestDigest: string): string[] {
    if (!existsSync(blobPath(manifestDigest))) return [];
    const manifest = JSON.parse(readFileSync(blobPath(manifestDigest), 'utf8')) as {
      config?: { digest: string };
      layers?: { digest: string }[];
    };
    const { config, layers = [] } = manifest;
    const digests = [config, ...layers].flatMap((each) => (each === undefined ? [] : [each.digest]));
    return [...new Set([manifestDigest, ...digests])];
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
    touch: (digest) => {
      const path = join(rootOf(digest), STORED);
      const now = new Date();
      if (existsSync(path)) utimesSync(path, now, now);
    },
    images: () =>
      readdirSync(roots).flatMap((hex) => {
        const path = join(roots, hex, STORED);
        if (!existsSync(path)) return [];
        const image = JSON.parse(readFileSync(path, 'utf8')) as StoredImage;
        return [{ image, usedAtMs: statSync(path).mtimeMs, blobs: blobsOf(image.pulled.digest) }];
      }),
    blobs: () => {
      const directory = join(blobsDirectory, 'sha256');
      const files = readdirSync(directory).filter((hex) => /^[a-f0-9]{64}$/.test(hex));
      return new Map(files.map((hex) => [`sha256:${hex}`, statSync(join(directory, hex)).size]));
    },
    remove: async (digest) => {
      const path = join(mkdtempSync(join(work, 'removed-')), 'root');
      renameSync(rootOf(digest), path);
      for (const file of readdirSync(names))
        if (readFileSync(join(names, file), 'utf8').startsWith(`${digest}\n`)) rmSync(join(names, file));
      await rm(dirname(path), { recursive: true, force: true });
    },
    workDirectory: () => mkdtempSync(join(work, 'pull-')),
  };
}
