import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { createCgroups } from '../../../src/engine/runtime/cgroups/index.ts';

const NAME = `sandbox-router-test-${process.pid}`;

/** A directory that looks like a mounted cgroup v2, as far as files go. */
function versionTwo(controllers: string) {
  const point = mkdtempSync(join(tmpdir(), 'sandbox-router-cgroups-'));
  const groups = join(point, NAME);
  for (const directory of [point, groups]) {
    mkdirSync(directory, { recursive: true });
    for (const file of ['controllers', 'subtree_control'])
      writeFileSync(join(directory, `cgroup.${file}`), controllers);
  }
  const mountInfo = `30 25 0:26 / ${point} rw,nosuid - cgroup2 cgroup2 rw\n31 25 0:27 / /proc rw - proc proc rw\n`;
  return { point, groups, cgroups: createCgroups(NAME, mountInfo), remove: () => rmSync(point, { recursive: true }) };
}

describe('cgroups', () => {
  it('of version 2: bounds are written as the kernel wants them', async () => {
    const { groups, cgroups, remove } = versionTwo('cpu memory pids');
    assert.deepEqual(cgroups.problems, {});
    const joining = await cgroups.make('a1', { memoryBytes: 2 ** 26, cpuMillicores: 250 });
    const read = (file: string) => readFileSync(join(groups, 'a1', file), 'utf8');
    assert.equal(read('memory.max'), String(2 ** 26));
    assert.equal(read('memory.oom.group'), '1');
    assert.equal(read('cpu.max'), '25000 100000');
    assert.equal(read('pids.max'), '16384');
    assert.ok(!existsSync(join(groups, 'a1', 'memory.swap.max')), 'swap is not counted here');
    assert.equal(joining.match(/cgroup\.procs/g)?.length, 1, 'one hierarchy, one entry');
    assert.deepEqual(cgroups.list(), ['a1']);
    writeFileSync(join(groups, 'a1', 'memory.events'), 'low 0\noom 3\noom_kill 0\noom_group_kill 0\n');
    assert.equal(cgroups.wasOutOfMemory('a1'), false);
    writeFileSync(join(groups, 'a1', 'memory.events'), 'low 0\noom 3\noom_kill 12\noom_group_kill 1\n');
    assert.equal(cgroups.wasOutOfMemory('a1'), true);
    assert.equal(cgroups.wasOutOfMemory('other'), false);
    remove();
  });

  it('the bound on memory is off while a command runs, and back afterwards, also if it fails', async () => {
    const { groups, cgroups, remove } = versionTwo('cpu memory pids');
    await cgroups.make('a1', { memoryBytes: 4096 });
    const file = join(groups, 'a1', 'memory.max');
    const [shell = '', ...words] = cgroups.withoutMemoryBound('a1');
    const { status, stdout } = spawnSync(shell, [...words, '/bin/sh', '-c', `cat ${file}; exit 3`], {
      encoding: 'utf8',
    });
    assert.equal(stdout.trim(), 'max');
    assert.equal(status, 3);
    assert.equal(readFileSync(file, 'utf8').trim(), '4096');
    assert.deepEqual(cgroups.withoutMemoryBound('other'), []);
    remove();
  });

  it('what there is not on the machine is said for each resource', () => {
    const { cgroups, remove } = versionTwo('memory');
    assert.deepEqual(Object.keys(cgroups.problems), ['cpu', 'pids']);
    remove();
    assert.deepEqual(Object.keys(createCgroups(NAME, '').problems), ['memory', 'cpu', 'pids']);
  });

  it('what has no limits has no group', async () => {
    const { cgroups, remove } = versionTwo('cpu memory pids');
    assert.equal(await cgroups.make('a1', undefined), '');
    assert.equal(cgroups.joining('a1'), '');
    assert.deepEqual(cgroups.list(), []);
    remove();
  });

  it('of this machine: who takes more memory than that is killed, and nothing stays', async (context) => {
    const cgroups = createCgroups(NAME);
    if (Object.keys(cgroups.problems).length > 0) {
      await cgroups.close();
      return context.skip(`no cgroups here: ${Object.values(cgroups.problems).join(', ')}`);
    }
    const joining = await cgroups.make('b2', { memoryBytes: 32 * 2 ** 20 });
    const [shell = '', ...words] = cgroups.withoutMemoryBound('b2');
    const bounds = 'cat memory.limit_in_bytes memory.memsw.limit_in_bytes memory.max 2>/dev/null; true';
    const read = (...before: string[]) => {
      const [file = '', ...line] = [...before, '/bin/sh', '-c', bounds];
      return spawnSync(file, line, { encoding: 'utf8', cwd: dirname(words[3] ?? '') })
        .stdout.trim()
        .split('\n');
    };
    assert.ok(read(shell, ...words).every((bound) => bound === 'max' || Number(bound) > 2 ** 60));
    assert.ok(
      read().every((bound) => Number(bound) === 32 * 2 ** 20),
      'they are back',
    );
    const greedy = `${joining}exec ${process.execPath} -e 'const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1))'`;
    const { signal } = spawnSync('/bin/sh', ['-c', greedy]);
    assert.equal(signal, 'SIGKILL');
    assert.equal(cgroups.wasOutOfMemory('b2'), true);
    const left = spawn('/bin/sh', ['-c', `${cgroups.joining('b2')}echo there; exec sleep 1000`], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await new Promise((resolve) => left.stdout.once('data', resolve));
    await cgroups.remove('b2');
    await cgroups.remove('b2');
    assert.deepEqual(cgroups.list(), []);
    await cgroups.close();
    assert.ok(!existsSync(join('/sys/fs/cgroup/memory', NAME)) && !existsSync(join('/sys/fs/cgroup', NAME)));
  });
});
