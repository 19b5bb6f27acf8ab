import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, realpathSync, statfsSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { tryCommand } from '../../runtime/index.ts';
import { ImageError, type ImageRoot, type PullOptions } from '../images.ts';
import { credentialFor } from './credentials.ts';
import type { ImageCache } from './image-cache.ts';
import { imageDefaults, type OciImageConfig } from './image-config.ts';
import { callImageTool } from './image-tool.ts';
import { inspectLayer, type UnpackLimits } from './layer-guard.ts';
import { canonicalName, digestName, type ImageReference } from './reference.ts';

/** What pulling needs. */
export interface PullerOptions {
  cache: ImageCache;
  /** The only place from which layouts (`oci:…`) are taken. */
  layoutsDirectory: string;
  limits: UnpackLimits;
  environment: NodeJS.ProcessEnv;
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

interface Manifest {
  config?: Descriptor;
  layers?: Descriptor[];
}

const INSPECT_TIMEOUT_MS = 60_000;
const COPY_TIMEOUT_MS = 15 * 60_000;
const UNPACK_TIMEOUT_MS = 10 * 60_000;
/** A manifest is a list: none needs more. */
const MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024;
/** Room left on the disk after an image. */
const SPARE_BYTES = 256 * 1024 * 1024;
/** What a small file takes on the disk, so that many of them count. */
const FILE_OVERHEAD_BYTES = 4096;
/** Name of the image in the layout of one pull. */
const PULLED = 'pulled';

/**
 * Fetches an image with skopeo, looks through its layers, unpacks it with umoci and puts it into the cache. What is there already is neither fetched nor
 * unpacked again. @throws ImageError `image_pull_failed`
 */
export async function pullImage(
  reference: ImageReference,
  { credentials, signal }: PullOptions,
  options: PullerOptions,
): Promise<ImageRoot> {
  const { cache, limits, environment } = options;
  const work = cache.workDirectory();
  try {
    const call = (tool: 'skopeo' | 'umoci', commandLine: string[], timeoutMs: number) =>
      callImageTool(tool, commandLine, {
        workingDirectory: work,
        timeoutMs,
        fileBytes: limits.bytes,
        signal,
        environment,
      });
    const access = accessTo(reference, writeAuthFile(work, reference, credentials));
    const raw = await call(
      'skopeo',
      ['inspect', '--raw', ...access('tls-verify'), sourceOf(reference, options)],
      INSPECT_TIMEOUT_MS,
    );
    const digest = digestOf(raw);
    if (reference.source === 'registry' && reference.digest !== undefined && digest !== reference.digest)
      throw new ImageError('image_pull_failed', `the registry answered with ${digest} instead`);
    const known = cache.named(digestName(reference, digest));
    if (known?.pulled !== undefined) {
      cache.name(canonicalName(reference), known.pulled.digest);
      return known;
    }
    requireSize(JSON.parse(raw.toString()) as Manifest, limits);
    const pinned = reference.source === 'registry' ? { ...reference, digest } : reference;
    await call(
      'skopeo',
      [
        '--tmpdir',
        work,
        'copy',
        '--quiet',
        '--dest-shared-blob-dir',
        cache.blobsDirectory,
        ...access('src-tls-verify'),
        sourceOf(pinned, options),
        `oci:layout:${PULLED}`,
      ],
      COPY_TIMEOUT_MS,
    );
    const manifestDigest = manifestOf(join(work, 'layout'));
    const image =
      cache.image(manifestDigest) ?? (await unpack(work, manifestDigest, digestName(reference, digest), call, options));
    cache.name(digestName(reference, digest), manifestDigest);
    cache.name(canonicalName(reference), manifestDigest);
    return image;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function unpack(
  work: string,
  manifestDigest: string,
  id: string,
  call: (tool: 'umoci', commandLine: string[], timeoutMs: number) => Promise<Buffer>,
  { cache, limits }: PullerOptions,
): Promise<ImageRoot> {
  const manifest = readManifest(cache.blobPath(manifestDigest));
  const { config, layers = [] } = manifest;
  try {
    if (config === undefined || !/image\.config\.v1\+json$/.test(config.mediaType))
      throw new ImageError('image_pull_failed', 'it is no container image');
    requireSize(manifest, limits);
    const budget = { bytesLeft: limits.bytes, filesLeft: limits.files };
    for (const [index, layer] of layers.entries())
      await inspectLayer(cache.blobPath(layer.digest), layer.mediaType, budget).catch((error: Error) => {
        throw new ImageError(
          'image_pull_failed',
          `layer ${index + 1} of ${layers.length} (${layer.digest}): ${error.message}`,
        );
      });
    const sizeBytes = limits.bytes - budget.bytesLeft;
    requireSpace(work, sizeBytes + (limits.files - budget.filesLeft) * FILE_OVERHEAD_BYTES);
    const bundle = join(work, 'bundle');
    const rootfs = join(bundle, 'rootfs');
    mkdirSync(bundle, { mode: 0o700 });
    // skopeo left it empty, as the blobs are shared; umoci looks for them there.
    await rm(join(work, 'layout', 'blobs'), { recursive: true, force: true });
    symlinkSync(cache.blobsDirectory, join(work, 'layout', 'blobs'));
    await call('umoci', ['raw', 'unpack', '--image', `layout:${PULLED}`, rootfs], UNPACK_TIMEOUT_MS);
    // Sandboxes have devices of their own; the machine's must not lie about under other names.
    const onDisk = { timeoutMs: UNPACK_TIMEOUT_MS, failureCode: 'image_pull_failed' };
    await tryCommand('find', ['-P', rootfs, '-xdev', '(', '-type', 'b', '-o', '-type', 'c', ')', '-delete'], onDisk);
    await tryCommand('sync', ['--file-system', bundle], onDisk);
    const { config: defaults = {} } = readJson<{ config?: OciImageConfig }>(cache.blobPath(config.digest));
    return cache.add(bundle, { ...imageDefaults(defaults, rootfs), pulled: { digest: manifestDigest, id, sizeBytes } });
  } catch (error) {
    // Blobs that can't be unpacked, for whatever reason, are fetched anew the next time.
    cache.discardBlobs([manifestDigest, ...layers.map(({ digest }) => digest)]);
    throw error instanceof ImageError ? error : new ImageError('image_pull_failed', (error as Error).message);
  }
}

/** Where skopeo reads. @throws ImageError for a layout that is not there, or that a link leads elsewhere */
function sourceOf(reference: ImageReference, { layoutsDirectory }: PullerOptions): string {
  if (reference.source === 'registry') {
    const version = reference.digest === undefined ? `:${reference.tag}` : `@${reference.digest}`;
    return `docker://${reference.registry}/${reference.repository}${version}`;
  }
  const missing = (problem: string) =>
    new ImageError(
      'image_pull_failed',
      `${problem} "${reference.name}" in the directory for layouts (${layoutsDirectory})`,
    );
  let path: string;
  try {
    path = realpathSync(join(layoutsDirectory, reference.name));
    if (!path.startsWith(realpathSync(layoutsDirectory) + sep)) throw missing('a link leads out of it:');
    if (!statSync(join(path, 'oci-layout')).isFile()) throw missing('there is no OCI layout');
  } catch (error) {
    throw error instanceof ImageError ? error : missing('there is no OCI layout');
  }
  return `oci:${path}:${reference.tag}`;
}

/** Flags of each call. Registries on this machine's loopback need no TLS, as with other container engines. */
function accessTo(reference: ImageReference, authFile: string): (verifyFlag: string) => string[] {
  const host = reference.source === 'registry' ? reference.registry.replace(/:\d+$/, '') : '';
  const local = host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
  return (verifyFlag) => ['--authfile', authFile, ...(local ? [`--${verifyFlag}=false`] : [])];
}

/** A file that only root reads, for the one registry that is asked: secrets never are arguments, which all users see. */
function writeAuthFile(work: string, reference: ImageReference, credentials: PullOptions['credentials']): string {
  const credential = credentialFor(reference, credentials);
  const auths =
    credential === undefined || reference.source !== 'registry'
      ? {}
      : {
          [reference.registry]: {
            auth: Buffer.from(`${credential.username}:${credential.password}`).toString('base64'),
          },
        };
  const path = join(work, 'auth.json');
  writeFileSync(path, JSON.stringify({ auths }), { mode: 0o600 });
  return path;
}

/** Digest of the manifest that skopeo wrote into a layout: the one for this platform, in OCI's form. */
function manifestOf(layout: string): string {
  const { manifests = [] } = readJson<{ manifests?: Descriptor[] }>(join(layout, 'index.json'));
  const [only] = manifests;
  if (only === undefined) throw new ImageError('image_pull_failed', 'it has no manifest for this platform');
  return only.digest;
}

function readManifest(path: string): Manifest {
  if (statSync(path).size > MANIFEST_LIMIT_BYTES)
    throw new ImageError('image_pull_failed', 'its manifest is too large');
  return readJson<Manifest>(path);
}

/** What a manifest says of itself is enough to refuse it, before anything is fetched. */
function requireSize({ layers = [] }: Manifest, limits: UnpackLimits): void {
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  if (bytes > limits.bytes)
    throw new ImageError('image_pull_failed', `its layers have ${bytes} bytes, an image may have ${limits.bytes}`);
}

function requireSpace(directory: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  if (bavail * bsize >= bytes + SPARE_BYTES) return;
  throw new ImageError(
    'image_pull_failed',
    `no space left: it needs ${bytes} bytes, ${directory} has ${bavail * bsize}`,
  );
}

function digestOf(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

function readJson<Value>(path: string): Value {
  return JSON.parse(readFileSync(path, 'utf8')) as Value;
}
