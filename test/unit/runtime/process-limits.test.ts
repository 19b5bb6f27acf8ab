import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createCgroups } from '../../../src/engine/runtime/cgroups/index.ts';
import type { ContainerSpec } from '../../../src/engine/runtime/index.ts';
import { createProcessRuntime } from '../../../src/engine/runtime/process/process.ts';

const NAME = `sandbox-router-test-process-${process.pid}`;

describe('limits of a plain process', () => {
  it('hold over a pause, and their group goes with it', async (context) => {
    const cgroups = createCgroups(NAME);
    const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-process-'));
    context.after(async () => {
      await cgroups.close();
      rmSync(directory, { recursive: true, force: true });
    });
    if (cgroups.problems.memory !== undefined) return context.skip(`no cgroups here: ${cgroups.problems.memory}`);
    const runtime = createProcessRuntime({ cgroups, containersDirectory: join(directory, 'containers') });
    const greedy = join(directory, 'be-greedy');
    const script = `const kept = []; const look = () => {
      if (!require('fs').existsSync(${JSON.stringify(greedy)})) return setTimeout(look, 20);
      for (;;) kept.push(Buffer.alloc(1 << 20, 1));
    }; look();`;
    const spec = (id: string): ContainerSpec => ({
      id,
      hostname: 'h',
      root: { path: '/', mounts: [] },
      command: [process.execPath, '-e', script],
      env: {},
      workingDirectory: '/',
      user: { uid: 0, gid: 0 },
      network: { address: '127.0.0.1' },
      logPath: join(directory, 'log'),
      limits: { memoryBytes: 128 * 2 ** 20, cpuMillicores: 1000 },
    });
    await runtime.run(spec('before'));
    await runtime.checkpoint('before', join(directory, 'snapshot'));
    assert.deepEqual(cgroups.list(), ['before']);
    assert.deepEqual(await runtime.list(), [], 'that of a paused one is no leftover');
    await runtime.restore(spec('after'), join(directory, 'snapshot'));
    assert.equal(runtime.wasOutOfMemory('after'), false);
    const ended = runtime.wait('after', new AbortController().signal);
    writeFileSync(greedy, '');
    assert.equal(await ended, 137);
    assert.equal(runtime.wasOutOfMemory('after'), true);
    await runtime.stop('after', 0);
    assert.deepEqual(cgroups.list(), []);
  });
});
