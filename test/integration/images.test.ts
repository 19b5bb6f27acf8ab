import assert from 'node:assert/strict';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import {
  createImageStore,
  type ImageStore,
  parseDockerConfig,
  type RegistryCredentials,
} from '../../src/engine/images/index.ts';
import { busyboxLayer, imageOf, type LayerFile, tarOf, writeLayout } from '../support/oci-image.ts';
import { type RegistryAccess, startRegistry, type TestRegistry } from '../support/oci-registry.ts';
import { until } from '../support/until.ts';

describe('OCI images, pulled and unpacked by skopeo and umoci', { timeout: 120_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-images-'));
  const layouts = join(directory, 'layouts');
  const cacheDirectory = join(directory, 'cache');
  const base = busyboxLayer();
  const registries: TestRegistry[] = [];
  let images: ImageStore;
  let maxBytes: number;

  beforeEach(() => {
    rmSync(cacheDirectory, { recursive: true, force: true });
    rmSync(layouts, { recursive: true, force: true });
    mkdirSync(layouts, { recursive: true });
    maxBytes = 2 ** 30;
    images = store();
  });
  afterEach(async () => {
    await until('nothing is left of a pull', () => readdirSync(join(cacheDirectory, 'work')).length === 0);
    for (const registry of registries.splice(0)) await registry.close();
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  function store(limits?: { bytes: number; files: number }, environment: NodeJS.ProcessEnv = process.env): ImageStore {
    return createImageStore({
      toolbox: { directory: join(directory, 'toolbox'), nodePath: process.execPath, agentDirectory: directory },
      oci: {
        directory: cacheDirectory,
        layoutsDirectory: layouts,
        environment,
        maxBytes,
        ...(limits === undefined ? {} : { limits }),
      },
    });
  }

  async function registry(access?: RegistryAccess): Promise<TestRegistry> {
    const started = await startRegistry(access);
    registries.push(started);
    return started;
  }

  function pull(
    reference: string,
    credentials: RegistryCredentials = new Map(),
    signal = new AbortController().signal,
  ) {
    return images.pull(reference, { credentials, signal });
  }

  function credentialsOf(host: string, user: string): RegistryCredentials {
    const auths = { [host]: { auth: Buffer.from(user).toString('base64') } };
    return parseDockerConfig(Buffer.from(JSON.stringify({ auths }))) as RegistryCredentials;
  }

  it('an image of a registry has its files and its defaults', async () => {
    const source = await registry();
    source.push(
      'team/app',
      'v1',
      imageOf([base, tarOf([{ path: 'etc/version', content: 'one' }])], {
        Entrypoint: ['/bin/sh', '-c'],
        Cmd: ['httpd -f'],
        Env: ['GREETING=hello=you', 'HOME=/home/app'],
        WorkingDir: '/www',
        User: 'app',
      }),
    );
    const { root, pulled, ...defaults } = await pull(`${source.host}/team/app:v1`);
    assert.equal(readFileSync(join(root.path, 'etc/version'), 'utf8'), 'one');
    assert.ok(statSync(join(root.path, 'bin/sh')).mode & 0o111);
    assert.deepEqual(defaults, {
      entrypoint: ['/bin/sh', '-c'],
      command: ['httpd -f'],
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        GREETING: 'hello=you',
        HOME: '/home/app',
      },
      workingDirectory: '/www',
      user: { uid: 4321, gid: 4322, additionalGids: [4323] },
    });
    assert.match(pulled?.id ?? '', new RegExp(`^${source.host}/team/app@sha256:[a-f0-9]{64}$`));
  });

  it('layers are fetched once, and an image that is there not at all', async () => {
    const source = await registry();
    source.push('one', 'latest', imageOf([base, tarOf([{ path: 'a' }])]));
    source.push('two', 'latest', imageOf([base, tarOf([{ path: 'b' }])]));
    const one = await pull(`${source.host}/one`);
    const before = source.served.length;
    await pull(`${source.host}/two`);
    const blobs = source.served.slice(before).filter((path) => path.includes('/blobs/'));
    assert.equal(blobs.length, 2, 'its configuration and its own layer');
    source.served.length = 0;
    assert.equal((await pull(`${source.host}/one`)).root.path, one.root.path);
    assert.deepEqual(
      source.served.filter((path) => path.includes('/blobs/')),
      [],
    );
  });

  it('the policy says whether what is there will do', async () => {
    const source = await registry();
    const reference = `${source.host}/app:v1`;
    assert.equal(await images.find(reference, 'IfNotPresent'), undefined);
    await assert.rejects(images.find(reference, 'Never'), {
      code: 'image_never_pull',
      message: /pull policy of Never/,
    });
    source.push('app', 'v1', imageOf([tarOf([{ path: 'one' }])]));
    const first = await pull(reference);
    assert.deepEqual(await images.find(reference, 'IfNotPresent'), first);
    assert.deepEqual(await images.find(reference, 'Never'), first);
    assert.equal(await images.find(reference, 'Always'), undefined);
    source.push('app', 'v1', imageOf([tarOf([{ path: 'two' }])]));
    assert.ok(existsSync(join((await pull(reference)).root.path, 'two')));
    const digest = first.pulled?.digest ?? '';
    assert.deepEqual(await images.find(reference, 'Always', digest), first, 'what a snapshot was taken of stays');
    assert.deepEqual(await store().find(reference, 'Never', digest), first, 'also for the next engine');
  });

  it('a digest is what is pulled, or nothing is', async () => {
    const source = await registry();
    const image = imageOf([tarOf([{ path: 'one' }])]);
    source.push('app', 'v1', image);
    assert.equal((await pull(`${source.host}/app@${image.digest}`)).pulled?.id, `${source.host}/app@${image.digest}`);
    await assert.rejects(pull(`${source.host}/app@sha256:${'0'.repeat(64)}`), {
      code: 'image_pull_failed',
      message: /manifest unknown/,
    });
  });

  for (const kind of ['basic', 'bearer'] as const)
    it(`a registry that wants ${kind} credentials gets those of the Secret`, async () => {
      const source = await registry({ kind, username: 'puller', password: 'pa:ss' });
      source.push('private/app', 'v1', imageOf([tarOf([{ path: 'one' }])]));
      const reference = `${source.host}/private/app:v1`;
      await assert.rejects(pull(reference), {
        code: 'image_pull_failed',
        message: /authentication required|unauthorized/i,
      });
      await assert.rejects(pull(reference, credentialsOf(source.host, 'puller:wrong')), { code: 'image_pull_failed' });
      await pull(reference, credentialsOf(source.host, 'puller:pa:ss'));
    });

  it('no secret is in an argument or in a file that others can read, and who leaves ends the pull', async () => {
    const source = await registry();
    const { release } = source.stall();
    const left = new AbortController();
    const pulling = pull(`${source.host}/app`, credentialsOf(source.host, 'puller:very-secret'), left.signal);
    pulling.catch(() => {});
    const skopeo = await until('skopeo runs', () =>
      readdirSync('/proc').find((pid) => {
        try {
          return (
            readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('skopeo\0') &&
            readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(source.host)
          );
        } catch {
          return false;
        }
      }),
    );
    const commandLine = readFileSync(`/proc/${skopeo}/cmdline`, 'utf8');
    const environment = readFileSync(`/proc/${skopeo}/environ`, 'utf8');
    const secret = Buffer.from('puller:very-secret').toString('base64');
    for (const text of [commandLine, environment]) assert.ok(!text.includes('very-secret') && !text.includes(secret));
    const authFile = /--authfile\0([^\0]+)/.exec(commandLine)?.[1] ?? '';
    assert.ok(readFileSync(authFile, 'utf8').includes(secret));
    assert.equal(statSync(authFile).mode & 0o777, 0o600);
    left.abort(new Error('left'));
    await assert.rejects(pulling, /left/);
    await until('skopeo ended', () => !existsSync(`/proc/${skopeo}`));
    await until('its files are gone', () => !existsSync(authFile));
    release();
  });

  it('two that ask at once are served by one pull', async () => {
    const source = await registry();
    source.push('app', 'latest', imageOf([base]));
    const [one, two] = await Promise.all([pull(`${source.host}/app`), pull(`${source.host}/app:latest`)]);
    assert.equal(one, two);
  });

  it('an image of a layout in the directory for them', async () => {
    writeLayout(join(layouts, 'team/app'), 'dev', imageOf([tarOf([{ path: 'one' }])], { Cmd: ['/one'] }));
    const image = await pull('oci:team/app:dev');
    assert.deepEqual(image.command, ['/one']);
    assert.match(image.pulled?.id ?? '', /^oci:team\/app@sha256:/);
    writeLayout(join(layouts, 'team/app'), 'dev', imageOf([tarOf([{ path: 'two' }])]));
    assert.ok(existsSync(join((await pull('oci:team/app:dev')).root.path, 'two')));
  });

  it('a layout elsewhere is not to be had, through no link either', async () => {
    writeLayout(join(directory, 'elsewhere'), 'latest', imageOf([tarOf([{ path: 'one' }])]));
    symlinkSync(join(directory, 'elsewhere'), join(layouts, 'link'));
    await assert.rejects(pull('oci:link'), { code: 'image_pull_failed', message: /a link leads out of it: "link"/ });
    await assert.rejects(pull('oci:absent'), { code: 'image_pull_failed', message: /there is no OCI layout "absent"/ });
  });

  it('nothing is written outside of the root, and no device is left in it', async () => {
    const outside = join(directory, 'outside');
    mkdirSync(outside, { recursive: true });
    const files: LayerFile[] = [
      { path: 'way-out', type: '2', target: outside },
      { path: 'way-out/through-a-link', content: 'x' },
      { path: 'far', type: '2', target: `../../../../../../../../../../${outside}` },
      { path: 'far/through-a-climbing-link', content: 'x' },
      { path: 'hard', type: '1', target: 'way-out' },
      { path: `${outside}/absolute`, content: 'x' },
      { path: 'dev/', type: '5', mode: 0o755 },
      { path: 'dev/disk', type: '4', mode: 0o666 },
      { path: 'dev/null', type: '3', mode: 0o666 },
      { path: 'etc', type: '2', target: '/etc' },
    ];
    writeLayout(
      join(layouts, 'evil'),
      'latest',
      imageOf([tarOf(files), tarOf([{ path: 'way-out/second', content: 'x' }])], { User: 'daemon' }),
    );
    await assert.rejects(pull('oci:evil'), /user "daemon" is not in its \/etc\/passwd/);
    writeLayout(
      join(layouts, 'evil'),
      'latest',
      imageOf([tarOf(files), tarOf([{ path: 'way-out/second', content: 'x' }])]),
    );
    const { root } = await pull('oci:evil');
    assert.deepEqual(readdirSync(outside), []);
    assert.deepEqual(readdirSync(join(root.path, 'dev')), []);
    assert.ok(lstatSync(join(root.path, 'etc')).isSymbolicLink());
  });

  const refused: [what: string, files: LayerFile[], message: RegExp][] = [
    ['climbing names', [{ path: '../../escaped', content: 'x' }], /layer 1 of 1 \(sha256:.*leads out of the root/],
    ['a bomb', [{ path: 'zeros', content: Buffer.alloc(4 << 20) }], /more bytes than an image may have/],
    ['too many files', Array.from({ length: 60 }, (_, index): LayerFile => ({ path: `f${index}` })), /more files than/],
  ];
  for (const [what, files, message] of refused)
    it(`${what}: refused, and nothing is kept`, async () => {
      images = store({ bytes: 2 << 20, files: 50 });
      writeLayout(join(layouts, 'evil'), 'latest', imageOf([tarOf(files)]));
      await assert.rejects(pull('oci:evil'), { code: 'image_pull_failed', message });
      assert.deepEqual(readdirSync(join(cacheDirectory, 'roots')), []);
      assert.equal(await images.find('oci:evil', 'IfNotPresent'), undefined);
    });

  it('an image whose manifest tells of too much is not fetched', async () => {
    const source = await registry();
    images = store({ bytes: 1 << 20, files: 50 });
    source.push('large', 'latest', imageOf([base]));
    await assert.rejects(pull(`${source.host}/large`), /its layers have \d+ bytes, an image may have 1048576/);
    assert.deepEqual(
      source.served.filter((path) => path.includes('/blobs/')),
      [],
    );
  });

  it('a blob that was damaged on the disk is fetched anew', async () => {
    const source = await registry();
    const image = imageOf([base]);
    source.push('app', 'latest', image);
    await pull(`${source.host}/app`);
    rmSync(join(cacheDirectory, 'roots'), { recursive: true });
    rmSync(join(cacheDirectory, 'names'), { recursive: true });
    images = store();
    const [layer] = JSON.parse(image.manifest.toString()).layers;
    const path = join(cacheDirectory, 'blobs/sha256', layer.digest.slice(7));
    writeFileSync(path, readFileSync(path).subarray(0, 5000));
    await assert.rejects(pull(`${source.host}/app`), { code: 'image_pull_failed' });
    await pull(`${source.host}/app`);
  });

  describe('its cache', () => {
    let source: TestRegistry;
    const blobs = () => readdirSync(join(cacheDirectory, 'blobs', 'sha256'));
    const roots = () => readdirSync(join(cacheDirectory, 'roots'));
    /** Pulls an image with files of its own, which nobody has asked for since so many minutes. */
    const pullOld = async (name: string, minutes: number) => {
      const own = tarOf([{ path: name, content: Buffer.alloc(100_000, name) }]);
      source.push(name, 'latest', imageOf([base, own]));
      const image = await pull(`${source.host}/${name}`);
      const then = Date.now() / 1000 - minutes * 60;
      utimesSync(join(dirname(image.root.path), 'image.json'), then, then);
      return image;
    };
    /** A store whose bound lets so many images go. */
    const boundedBy = (bytes: number) => {
      maxBytes = bytes;
      images = store();
    };
    beforeEach(async () => {
      source = await registry();
    });

    it('lets what was asked for longest ago go, with the blobs that are its alone', async () => {
      const names = ['oldest', 'newer', 'newest'];
      for (const [index, name] of names.entries()) await pullOld(name, 30 - index);
      const { bytes = 0 } = (await images.clean(() => new Set())) ?? {};
      assert.equal(blobs().length, 1 + 3 * 3, 'a layer of all; configuration, layer and manifest of each');
      boundedBy(bytes - 1000);
      const cleaned = await images.clean(() => new Set());
      assert.deepEqual(
        cleaned?.removed.map(({ id }) => id.split('@')[0]),
        [`${source.host}/oldest`],
      );
      assert.ok((cleaned?.bytes ?? Number.NaN) <= maxBytes);
      assert.equal(roots().length, 2);
      assert.equal(blobs().length, 1 + 2 * 3);
      assert.equal(await images.find(`${source.host}/oldest`, 'IfNotPresent'), undefined);
      assert.ok(await images.find(`${source.host}/newer`, 'Never'));
      const again = await pull(`${source.host}/oldest`);
      assert.ok(existsSync(join(again.root.path, 'bin/sh')), 'it can be had again');
    });

    it('keeps what is in use, and what was asked for just now, whatever it takes', async () => {
      const used = await pullOld('used', 30);
      await pullOld('asked', 20);
      await pullOld('idle', 10);
      boundedBy(0);
      assert.ok(await images.find(`${source.host}/asked`, 'IfNotPresent'));
      const cleaned = await images.clean(() => new Set([used.pulled?.digest ?? '']));
      assert.deepEqual(
        cleaned?.removed.map(({ id }) => id.split('@')[0]),
        [`${source.host}/idle`],
      );
      assert.ok((cleaned?.bytes ?? 0) > 0);
      assert.ok(existsSync(join(used.root.path, 'bin/sh')));
      assert.equal((await images.find(`${source.host}/used`, 'Never', used.pulled?.digest))?.root.path, used.root.path);
    });

    it('waits for pulls, which count on what they found there', async () => {
      await pullOld('idle', 10);
      boundedBy(0);
      source.push('late', 'latest', imageOf([base, tarOf([{ path: 'late' }])]));
      const { release } = source.stall();
      const late = pull(`${source.host}/late`);
      await until('it has begun', () => readdirSync(join(cacheDirectory, 'work')).length > 0);
      assert.equal(await images.clean(() => new Set()), undefined);
      assert.equal(roots().length, 1);
      release();
      await late;
      assert.equal((await images.clean(() => new Set()))?.removed.length, 1);
      assert.ok(existsSync(join((await late).root.path, 'bin/sh')));
    });

    it('loses no image to an engine that was killed while it cleaned', async () => {
      const image = await pullOld('half', 10);
      // What a kill leaves: the image is renamed already, its name and blobs are there.
      renameSync(dirname(image.root.path), join(cacheDirectory, 'work', 'removed-x'));
      boundedBy(0);
      assert.equal(await images.find(`${source.host}/half`, 'IfNotPresent'), undefined);
      assert.deepEqual(readdirSync(join(cacheDirectory, 'work')), []);
      assert.ok(existsSync(join((await pull(`${source.host}/half`)).root.path, 'half')));
    });
  });

  it('without the tools, the error names the one to install', async () => {
    images = store(undefined, { PATH: '/nonexistent' });
    await assert.rejects(pull('registry.example.com/app'), {
      code: 'image_pull_failed',
      message: /the tool "skopeo" is missing \(package skopeo\)/,
    });
  });
});
