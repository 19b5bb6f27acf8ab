import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';

it('an orderly end is carried through although nobody reads what is said meanwhile', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-signals-'));
  const program = join(directory, 'program.mts');
  writeFileSync(
    program,
    `
    import { setTimeout as delay } from 'node:timers/promises';
    import { untilSignal } from ${JSON.stringify(join(import.meta.dirname, '../../src/cli/signals.ts'))};
    const stopAsked = untilSignal();
    console.log('ready');
    setInterval(() => {}, 1000).unref();
    await Promise.race([stopAsked, delay(30_000)]);
    for (let step = 0; step < 5; step++) {
      process.stderr.write('stopping');
      console.log('stopping');
      await delay(10);
    }
    process.exit(42);
    `,
  );
  try {
    const child = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'pipe'] });
    await once(child.stdout, 'data');
    child.stdout.destroy();
    child.stderr.destroy();
    child.kill('SIGINT');
    assert.deepEqual(await once(child, 'exit'), [42, null]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
