import { createHash } from 'node:crypto';
import { ImageError, type ImageRoot, type ImageStore, type PullOptions } from './images.ts';
import { cleanCache } from './oci/cleaning.ts';
import { createImageCache } from './oci/image-cache.ts';
import type { UnpackLimits } from './oci/layer-guard.ts';
import { pullImage } from './oci/pull.ts';
import { canonicalName, parseReference } from './oci/reference.ts';
import { createSharedWork } from './shared-work.ts';
import { makeToolbox, type ToolboxOptions } from './toolbox.ts';

/** Name of the built-in image; any tag, never pulled. */
export const TOOLBOX = 'sandbox-router.local/toolbox';

/** What OCI images are kept and bounded by. */
export interface OciImageOptions {
  /** The cache. */
  directory: string;
  /** OCI layouts that `oci:<name>[:<tag>]` stands for, and the only place from which they are read. */
  layoutsDirectory: string;
  /** Bytes that the cache may keep of images which no sandbox uses, together with those in use. */
  maxBytes: number;
  environment: NodeJS.ProcessEnv;
  limits?: UnpackLimits;
}

/** Most that one image may unpack to. */
const LIMITS: UnpackLimits = { bytes: 32 * 2 ** 30, files: 2_000_000 };
/** Pulls at once; more only fight for the same line and disk. */
const CONCURRENCY = 2;

/** The images of this engine: the toolbox, made ready when it is first asked for, and OCI images where the runtime can run them. */
export function createImageStore(options: { toolbox: ToolboxOptions; oci?: OciImageOptions }): ImageStore {
  let toolbox: ImageRoot | undefined;
  const cache = options.oci === undefined ? undefined : createImageCache(options.oci.directory);
  const pulls = createSharedWork<ImageRoot>(CONCURRENCY);
  let pulling = 0;
  let cleaning: Promise<unknown> = Promise.resolve();

  /** A pull counts on what it finds in the cache. */
  async function besidesNoCleaning<Result>(work: () => Promise<Result>): Promise<Result> {
    for (let seen: unknown; seen !== cleaning; ) {
      seen = cleaning;
      await seen;
    }
    pulling++;
    try {
      return await work();
    } finally {
      pulling--;
    }
  }

  const notFetched = (reference: string, problem: string) =>
    new ImageError('image_never_pull', `Container image ${JSON.stringify(reference)} is not present${problem}`);

  return {
    find: async (reference, policy, digest) => {
      if (/^sandbox-router\.local\/toolbox(:[\w][\w.-]{0,127})?$/.test(reference)) {
        toolbox ??= makeToolbox(options.toolbox);
        return toolbox;
      }
      const name = canonicalName(parseReference(reference));
      if (cache === undefined) throw notFetched(reference, `: without gVisor there is only the built-in ${TOOLBOX}`);
      if (reference.startsWith('sandbox-router.local/'))
        throw notFetched(reference, `: of this name there is only the built-in ${TOOLBOX}`);
      if (digest === undefined && policy === 'Always') return undefined;
      const found = digest === undefined ? cache.named(name) : cache.image(digest);
      if (found?.pulled !== undefined) cache.touch(found.pulled.digest);
      if (digest !== undefined) return found;
      if (found === undefined && policy === 'Never') throw notFetched(reference, ' with pull policy of Never');
      return found;
    },

    pull: async (reference, pullOptions) => {
      const parsed = parseReference(reference);
      const { oci } = options;
      if (oci === undefined || cache === undefined) throw notFetched(reference, '');
      return await pulls.run(sharedKey(canonicalName(parsed), pullOptions), pullOptions.signal, (signal) =>
        besidesNoCleaning(async () => {
          const image = await pullImage(parsed, { ...pullOptions, signal }, { limits: LIMITS, ...oci, cache });
          if (image.pulled !== undefined) cache.touch(image.pulled.digest);
          return image;
        }),
      );
    },

    clean: async (used) => {
      if (options.oci === undefined || cache === undefined || pulling > 0) return undefined;
      const { maxBytes } = options.oci;
      const before = cleaning;
      const cleaned = (async () => {
        await before;
        return await cleanCache(cache, { maxBytes, used, nowMs: Date.now() });
      })();
      cleaning = cleaned.catch(() => {});
      return { ...(await cleaned), maxBytes };
    },
  };
}

/** Who may have an image the registry decides: only those who ask with the same credentials share a pull. */
function sharedKey(name: string, { credentials }: PullOptions): string {
  return createHash('sha256')
    .update(JSON.stringify([name, [...credentials]]))
    .digest('hex');
}
