import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { inspectLayer } from '../../../src/engine/images/oci/layer-guard.ts';
import { busyboxLayer, type LayerFile, tarOf } from '../../support/oci-image.ts';

const GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip';

describe('a layer, before it is unpacked', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-layer-'));
  after(() => rmSync(directory, { recursive: true, force: true }));

  async function inspect(content: Buffer, mediaType = GZIP, limits = { bytesLeft: 16 << 20, filesLeft: 1000 }) {
    const path = join(directory, 'layer');
    writeFileSync(path, content);
    const budget = { ...limits };
    await inspectLayer(path, mediaType, budget);
    return { bytes: limits.bytesLeft - budget.bytesLeft, files: limits.filesLeft - budget.filesLeft };
  }
  const pax = (records: Record<string, string>): LayerFile => {
    const lines = Object.entries(records).map(([key, value]) => {
      const rest = ` ${key}=${value}\n`;
      const length = rest.length + String(rest.length + 3).length;
      return `${length}${rest}`;
    });
    return { path: 'pax', type: 'x', content: lines.join('') };
  };

  it('is counted', async () => {
    const layer = busyboxLayer();
    assert.deepEqual(await inspect(gzipSync(layer)), { bytes: layer.length, files: 23 });
  });

  it('may be compressed with zstd, or not at all', async () => {
    const layer = tarOf([{ path: 'a', content: 'b' }]);
    assert.equal((await inspect(zstdCompressSync(layer), 'application/vnd.oci.image.layer.v1.tar+zstd')).files, 1);
    assert.equal((await inspect(layer, 'application/vnd.oci.image.layer.v1.tar')).files, 1);
  });

  it('may have long names', async () => {
    const long = `${'d/'.repeat(120)}file`;
    const layer = tarOf([
      pax({ path: long }),
      { path: 'short' },
      { path: '././@LongLink', type: 'L', content: `${long}2\0` },
      { path: 'short' },
    ]);
    assert.equal((await inspect(gzipSync(layer))).files, 2);
  });

  it('may have symbolic links to anywhere, and devices, which are left out later', async () => {
    const layer = tarOf([
      { path: 'etc', type: '2', target: '/etc' },
      { path: 'up', type: '2', target: '../../../..' },
      { path: 'null', type: '3' },
    ]);
    assert.equal((await inspect(gzipSync(layer))).files, 3);
  });

  const refused: [what: string, files: LayerFile[], message: RegExp][] = [
    [
      'a name with ..',
      [{ path: '../../etc/cron.d/evil', content: 'x' }],
      /"\.\.\/\.\.\/etc\/cron\.d\/evil" leads out of the root/,
    ],
    ['.. in the middle', [{ path: 'a/../../b' }], /leads out/],
    ['.. in a pax name', [pax({ path: '../b' }), { path: 'innocent' }], /"\.\.\/b" leads out/],
    ['.. in a GNU name', [{ path: 'x', type: 'L', content: '../b\0' }, { path: 'innocent' }], /"\.\.\/b" leads out/],
    ['a hard link with ..', [{ path: 'passwd', type: '1', target: '../../etc/passwd' }], /hard link that leads out/],
    [
      'a hard link with .. in a pax name',
      [pax({ linkpath: '../x' }), { path: 'l', type: '1', target: 'y' }],
      /hard link that leads out/,
    ],
    ['a root that is a link', [{ path: './', type: '2', target: '/etc' }], /root is not a directory/],
    ['a whiteout of ..', [{ path: 'a/.wh...' }], /would remove what is not in the root/],
    ['a sparse file', [{ path: 'huge', type: 'S' }], /sparse/],
    ['a sparse file in pax form', [pax({ 'GNU.sparse.realsize': '1099511627776' }), { path: 'huge' }], /sparse/],
    ['an unknown type', [{ path: 'x', type: 'Z' as 'S' }], /unknown type "Z"/],
    ['an end in the middle', [{ path: 'x', claimedBytes: 1 << 20 }], /ends in the middle/],
  ];
  for (const [what, files, message] of refused)
    it(`${what} is refused`, async () => assert.rejects(inspect(gzipSync(tarOf(files, false))), message));

  it('a decompression bomb ends at the bound', async () => {
    const bomb = gzipSync(tarOf([{ path: 'zeros', content: Buffer.alloc(32 << 20) }]));
    assert.ok(bomb.length < 1 << 20);
    await assert.rejects(inspect(bomb), /more bytes than an image may have/);
  });

  it('too many files end at the bound', async () => {
    const files = Array.from({ length: 1001 }, (_, index): LayerFile => ({ path: `f${index}` }));
    await assert.rejects(inspect(gzipSync(tarOf(files))), /more files than an image may have/);
  });

  it('what is no archive is refused', async () => {
    await assert.rejects(inspect(gzipSync(Buffer.alloc(2048, 'x'))), /checksum|number/);
    await assert.rejects(inspect(Buffer.from('not gzip')), /header/);
    await assert.rejects(inspect(Buffer.alloc(0), 'text/plain'), /none that can be unpacked/);
  });
});
