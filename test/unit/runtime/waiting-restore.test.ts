import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { startWaitingRestore, waitingForOther } from '../../../src/engine/runtime/gvisor/waiting-restore.ts';
import { until } from '../../support/until.ts';

/** What stands for runsc: it needs the lock before it does anything, and says on its output when it has it. */
describe('calls of runsc that are started before they may go on', () => {
  let directory: string;
  let lockPath: string;
  let outputPath: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sandbox-router-waiting-'));
    lockPath = join(directory, 'lock');
    outputPath = join(directory, 'output');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const output = () => (existsSync(outputPath) ? readFileSync(outputPath, 'utf8') : '');
  const isLocked = () => {
    try {
      execFileSync('flock', ['--nonblock', lockPath, 'true']);
      return false;
    } catch {
      return existsSync(lockPath);
    }
  };
  const start = (script: string) =>
    startWaitingRestore({ lockPath, outputPath, command: ['flock', lockPath, 'sh', '-c', script] });

  it('one waits for the word, and tells how it ended', async () => {
    const waiting = start('echo went on; exit 3');
    await until('it has the lock', isLocked);
    assert.equal(output(), '');
    assert.ok(waiting.waits());
    assert.equal(await waiting.go(10_000), 3);
    assert.equal(output(), 'went on\n');
    assert.equal(waiting.waits(), false);
  });

  it('one that gets the word before it has begun to wait goes on all the same', async () => {
    assert.equal(await start('echo went on').go(10_000), 0);
    assert.equal(output(), 'went on\n');
  });

  it('one that is not needed ends without having done anything, and leaves no lock', async () => {
    const waiting = start('echo went on');
    await until('it has the lock', isLocked);
    await waiting.cancel();
    assert.equal(output(), '');
    assert.equal(isLocked(), false);
  });

  it('one that goes on for too long is ended', async () => {
    const waiting = start('echo went on; exec sleep 60');
    assert.equal(await waiting.go(500), 137);
  });

  it('one whose engine is gone ends without having done anything', async () => {
    const script = `
      import { startWaitingRestore } from ${JSON.stringify(join(import.meta.dirname, '../../../src/engine/runtime/gvisor/waiting-restore.ts'))};
      startWaitingRestore(${JSON.stringify({ lockPath, outputPath, command: ['flock', lockPath, 'sh', '-c', 'echo went on'] })});
      setInterval(() => {}, 1000);
    `;
    const path = join(directory, 'engine.mts');
    writeFileSync(path, script);
    const engine = execFile(process.execPath, [path]);
    try {
      await until('it has the lock', isLocked);
    } finally {
      engine.kill('SIGKILL');
    }
    await until('nobody has the lock', () => !isLocked());
    assert.equal(output(), '');
  });

  it('one beside another thing goes on once that is done', () => {
    const call = `exec flock ${lockPath} sh -c 'echo call' >>${outputPath}`;
    execFileSync('/bin/sh', ['-c', waitingForOther(call, `sleep 0.2; echo other >>${outputPath}`, lockPath)]);
    assert.equal(output(), 'other\ncall\n');
  });

  it('one beside another thing that fails says so', () => {
    writeFileSync(lockPath, '');
    assert.throws(
      () =>
        execFileSync('/bin/sh', ['-c', waitingForOther('exit 0', 'echo why >&2; false', lockPath)], { stdio: 'pipe' }),
      { status: 121, stderr: Buffer.from('why\n') },
    );
  });
});
