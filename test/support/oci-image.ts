import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** A file in a layer, as its tar header has it; `type` is the header's own letter. */
export interface LayerFile {
  path: string;
  type?: '0' | '1' | '2' | '3' | '4' | '5' | '6' | 'S' | 'x' | 'L';
  content?: Buffer | string;
  mode?: number;
  target?: string;
  uid?: number;
  gid?: number;
  /** Size that the header claims, if not that of the content. */
  claimedBytes?: number;
}

/** An OCI image: its manifest and all blobs by digest. */
export interface TestImage {
  digest: string;
  manifest: Buffer;
  blobs: Map<string, Buffer>;
}

/** A tar archive. */
export function tarOf(files: LayerFile[], end = true): Buffer {
  const blocks = files.flatMap((file) => {
    const content = Buffer.from(file.content ?? '');
    const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
    return [headerOf(file, file.claimedBytes ?? content.length), content, padding];
  });
  return Buffer.concat([...blocks, Buffer.alloc(end ? 1024 : 0)]);
}

function headerOf({ path, type = '0', mode = 0o644, target = '', uid = 0, gid = 0 }: LayerFile, size: number): Buffer {
  const header = Buffer.alloc(512);
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, '0')}\0`;
  header.write(path.slice(0, 100), 0);
  header.write(octal(mode, 8), 100);
  header.write(octal(uid, 8), 108);
  header.write(octal(gid, 8), 116);
  header.write(octal(size, 12), 124);
  header.write(octal(0, 12), 136);
  header.write('        ', 148);
  header.write(type, 156);
  header.write(target.slice(0, 100), 157);
  header.write('ustar\u000000', 257);
  header.write(octal(1, 8), 329);
  header.write(octal(5, 8), 337);
  header.write(
    octal(
      header.reduce((sum, byte) => sum + byte, 0),
      7,
    ),
    148,
  );
  return header;
}

/** An image of gzipped layers. */
export function imageOf(layers: Buffer[], config: object = {}): TestImage {
  const blobs = new Map<string, Buffer>();
  const add = (mediaType: string, content: Buffer) => {
    const digest = digestOf(content);
    blobs.set(digest, content);
    return { mediaType, digest, size: content.length };
  };
  const layerDescriptors = layers.map((layer) =>
    add('application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(layer, { level: 1 })),
  );
  const configText = JSON.stringify({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
  });
  const configDescriptor = add('application/vnd.oci.image.config.v1+json', Buffer.from(configText));
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: configDescriptor,
      layers: layerDescriptors,
    }),
  );
  blobs.set(digestOf(manifest), manifest);
  return { digest: digestOf(manifest), manifest, blobs };
}

/** Media type of an image's manifest. */
export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';

/** Puts an image into an OCI layout under a tag, in place of what had it. */
export function writeLayout(directory: string, tag: string, image: TestImage): void {
  mkdirSync(join(directory, 'blobs', 'sha256'), { recursive: true });
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  for (const [digest, blob] of image.blobs)
    writeFileSync(join(directory, 'blobs', 'sha256', digest.slice('sha256:'.length)), blob);
  const descriptor = {
    mediaType: MANIFEST_TYPE,
    digest: image.digest,
    size: image.manifest.length,
    annotations: { 'org.opencontainers.image.ref.name': tag },
  };
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }));
}

/** `sha256:…` of some bytes. */
export function digestOf(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

/** A layer with a static busybox and names for its programs: what a small image has. */
export function busyboxLayer(): Buffer {
  const programs = [
    'sh',
    'cat',
    'echo',
    'httpd',
    'id',
    'ls',
    'nc',
    'printenv',
    'pwd',
    'sleep',
    'stat',
    'touch',
    'true',
    'wget',
  ];
  return tarOf([
    ...['bin', 'etc', 'tmp', 'www', 'home', 'home/app'].map(
      (path): LayerFile => ({ path: `${path}/`, type: '5', mode: path === 'tmp' ? 0o1777 : 0o755 }),
    ),
    { path: 'bin/busybox', mode: 0o755, content: readFileSync('/bin/busybox') },
    ...programs.map((name): LayerFile => ({ path: `bin/${name}`, type: '2', target: 'busybox' })),
    { path: 'etc/passwd', content: 'root:x:0:0::/root:/bin/sh\napp:x:4321:4322::/home/app:/bin/sh\n' },
    { path: 'etc/group', content: 'root:x:0:\napp:x:4322:\nextra:x:4323:app\n' },
  ]);
}
