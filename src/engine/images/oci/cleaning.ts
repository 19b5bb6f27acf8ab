import type { RemovedImage } from '../images.ts';
import type { ImageCache } from './image-cache.ts';

/** What may go. */
export interface CleaningOptions {
  /** Bytes of files and blobs that may stay. */
  maxBytes: number;
  /** Digests of images that sandboxes use, running or paused: they stay whatever they take. */
  used(): ReadonlySet<string>;
  nowMs: number;
}

/** Time for a container to be started from an image after somebody asked for it (a kubelet's imageMinimumGCAge). */
const LEAST_AGE_MS = 120_000;

/**
 * Removes what the cache has too much: blobs that belong to no image first, then the images that were asked for longest ago, with the blobs that are theirs
 * alone. Not to be run beside a pull, which counts on the blobs that it found. Whatever goes is gone at once and whole, at whatever moment this is killed.
 */
export async function cleanCache(
  cache: ImageCache,
  options: CleaningOptions,
): Promise<{ removed: RemovedImage[]; bytes: number }> {
  const { maxBytes, nowMs } = options;
  const images = cache.images().sort((left, right) => left.usedAtMs - right.usedAtMs);
  const blobs = cache.blobs();
  const users = new Map<string, number>();
  for (const { blobs: own } of images) for (const digest of own) users.set(digest, (users.get(digest) ?? 0) + 1);
  let bytes = [...blobs.values()].reduce((sum, size) => sum + size, 0);
  for (const { image } of images) bytes += image.pulled.sizeBytes;
  const discard = (digest: string) => {
    cache.discardBlobs([digest]);
    bytes -= blobs.get(digest) ?? 0;
  };
  for (const digest of blobs.keys()) if (bytes > maxBytes && !users.has(digest)) discard(digest);
  const removed: RemovedImage[] = [];
  const used = bytes > maxBytes ? options.used() : new Set<string>();
  for (const { image, blobs: own, usedAtMs } of images) {
    const { digest, id, sizeBytes } = image.pulled;
    if (bytes <= maxBytes) break;
    if (used.has(digest) || usedAtMs > nowMs - LEAST_AGE_MS) continue;
    await cache.remove(digest);
    bytes -= sizeBytes;
    removed.push({ id, sizeBytes });
    for (const blob of own) {
      const others = (users.get(blob) ?? 1) - 1;
      users.set(blob, others);
      if (others === 0) discard(blob);
    }
  }
  return { removed, bytes };
}
