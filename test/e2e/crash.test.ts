import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { projectRoot } from '../support/checkout.ts';
import { footprint, leaked, NOTHING_LEFT } from '../support/leaks.ts';
import { missingTool, toolPath } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);

describe('kill -9 of engine and router', { skip: missingTool('runsc'), timeout: 300_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-crash-'));
  /** A runsc that starts no container as long as a file says so. */
  const programs = mkdtempSync(join(tmpdir(), 'sandbox-router-runsc-'));
  const hold = join(programs, 'hold');
  const environment = { PATH: `${programs}:${process.env.PATH}` };
  const start = () => startUp({ directory: projectRoot, stateDirectory, runtime: 'gvisor', environment });
  let before_: ReturnType<typeof footprint>;
  let up: RunningUp;

  before(async () => {
    const held = `touch ${hold}.reached; while test -e ${hold}; do sleep 0.05; done; exit 1`;
    const runsc = `#!/bin/sh\ncase " $* " in *" start "*) test -e ${hold} && { ${held}; } ;; esac\nexec ${toolPath('runsc')} "$@"\n`;
    writeFileSync(join(programs, 'runsc'), runsc, { mode: 0o755 });
    before_ = footprint(stateDirectory);
    up = await start();
  });
  after(async () => {
    await up?.interrupt();
    const left = leaked(before_, footprint(stateDirectory));
    for (const directory of [stateDirectory, programs]) rmSync(directory, { recursive: true, force: true });
    assert.deepEqual(left, NOTHING_LEFT);
  });

  const count = async (): Promise<number> => {
    const response = await up.request('/counter/');
    assert.equal(response.status, 200, await response.clone().text());
    return ((await response.json()) as { n: number }).n;
  };
  const pause = () =>
    execute(process.execPath, ['src/cli/main.ts', 'pause', 'counter', '--state-dir', stateDirectory], {
      cwd: projectRoot,
    });

  /** Namespaces and links of this engine now: one of each for a running sandbox, none for a paused one. */
  const networkSize = () => {
    const now = leaked(before_, footprint(stateDirectory));
    return { namespaces: now.namespaces.length, links: now.links.length };
  };

  it('while sandboxes run: they are found again, same pod, same memory', async () => {
    const n = await count();
    const uid = await up.kubectl('get', 'pod', 'counter', '-o', 'jsonpath={.metadata.uid}');
    const size = networkSize();
    await up.kill();
    up = await start();
    assert.equal(await count(), n + 1);
    assert.equal(await up.kubectl('get', 'pod', 'counter', '-o', 'jsonpath={.metadata.uid}'), uid);
    assert.deepEqual(networkSize(), size);
  });

  it('while one is paused: it still sleeps, and wakes with its memory', async () => {
    const n = await count();
    await pause();
    await up.kill();
    up = await start();
    assert.equal((await up.kubectl('get', 'pods', '-o', 'name')).includes('pod/counter'), false);
    assert.equal(await count(), n + 1);
  });

  for (const afterMs of [5, 30, 60, 90, 120, 160, 220, 300]) {
    it(`${afterMs} ms into a pause: the counter loses no step`, async () => {
      const n = await count();
      const patched = up.kubectl(
        'patch',
        'sandbox',
        'counter',
        '--type',
        'merge',
        '-p',
        '{"spec":{"operatingMode":"Suspended"}}',
      );
      await Promise.allSettled([patched]);
      await delay(afterMs);
      await up.kill();
      up = await start();
      assert.equal(await count(), n + 1);
    });
  }

  it('between the making and the start of a container: it is made again', async () => {
    const manifest = readFileSync(join(projectRoot, 'deploy/examples/quickstart.yaml'), 'utf8');
    const path = join(programs, 'late.yaml');
    writeFileSync(path, manifest.split('---')[0]?.replace('name: counter', 'name: late') ?? '');
    writeFileSync(hold, '');
    await up.kubectl('apply', '-f', path);
    await until('its container is made', () => existsSync(`${hold}.reached`));
    await up.kill();
    rmSync(hold);
    up = await start();
    const answer = await until('it runs', async () => {
      const response = await up.request('/late/');
      return response.status === 200 ? ((await response.json()) as { n: number }) : undefined;
    });
    assert.equal(answer.n, 1);
    await up.kubectl('delete', 'sandbox', 'late', '--wait');
  });

  it('while it removed a Pod: the next one removes what is left of it', async () => {
    const engine = join(stateDirectory, 'engine');
    const uid = '00000000-0000-4000-8000-000000000000';
    const running = await up.kubectl('get', 'pod', 'counter', '-o', 'jsonpath={.metadata.uid}');
    await up.kill();
    writeFileSync(join(engine, 'snapshots', `${running}.json`), '{"address":""}');
    mkdirSync(join(engine, 'snapshots', `${running}.discarded`));
    for (const file of [`logs/${uid}.log`, `logs/${uid}.index`]) writeFileSync(join(engine, file), '');
    mkdirSync(join(engine, 'pod-files', uid, 'volumes'), { recursive: true });
    up = await start();
    const left = ['logs', 'pod-files'].flatMap((directory) => readdirSync(join(engine, directory)));
    assert.deepEqual(
      left.filter((name) => name.startsWith(uid)),
      [],
    );
    await until('what was no snapshot any more is gone', () =>
      readdirSync(join(engine, 'snapshots')).every((name) => !name.startsWith(running)),
    );
  });

  it('before it noted that a restore was done: no later start goes back to that snapshot', async () => {
    const n = await count();
    await pause();
    assert.equal(await count(), n + 1);
    const uid = await up.kubectl('get', 'pod', 'counter', '-o', 'jsonpath={.metadata.uid}');
    const record = join(stateDirectory, 'engine', 'pods', `${uid}.json`);
    await up.kill();
    const { startedAt, ...noted } = JSON.parse(readFileSync(record, 'utf8')) as { startedAt?: string };
    assert.ok(startedAt !== undefined);
    writeFileSync(record, JSON.stringify(noted));
    up = await start();
    assert.equal(await count(), n + 2);
    assert.ok((JSON.parse(readFileSync(record, 'utf8')) as { startedAt?: string }).startedAt !== undefined);
  });

  it('with a full disk, a pause fails and the sandbox keeps running', async () => {
    const snapshots = join(stateDirectory, 'engine', 'snapshots');
    mkdirSync(snapshots, { recursive: true });
    const n = await count();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', snapshots]);
    try {
      await assert.rejects(pause(), /keeps running/);
      assert.equal(await count(), n + 1);
    } finally {
      execFileSync('umount', [snapshots]);
    }
    await pause();
    assert.equal(await count(), n + 2);
  });
});
