import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { projectRoot } from '../support/checkout.ts';
import { footprint, leaked } from '../support/leaks.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);

describe('kill -9 of engine and router', { timeout: 300_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-crash-'));
  const start = () => startUp({ directory: projectRoot, stateDirectory, runtime: 'gvisor' });
  let before_: ReturnType<typeof footprint>;
  let up: RunningUp;

  before(async () => {
    before_ = footprint(stateDirectory);
    up = await start();
  });
  after(async () => {
    await up?.interrupt();
    const left = leaked(before_, footprint(stateDirectory));
    rmSync(stateDirectory, { recursive: true, force: true });
    assert.deepEqual(left, { processes: [], namespaces: [], links: [], mounts: [] });
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
