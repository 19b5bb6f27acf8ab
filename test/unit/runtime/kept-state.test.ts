import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { keptState, processesOf } from '../../../src/engine/runtime/gvisor/kept-state.ts';
import type { Runsc } from '../../../src/engine/runtime/gvisor/runsc.ts';

describe('what runsc keeps of a container', () => {
  const rootDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-state-'));
  const runsc = { rootDirectory } as Runsc;
  /** Stands for a sentry: its command line ends with the id of its sandbox. */
  const sentry = spawn('sleep', ['60', '0'], { argv0: 'runsc-sandbox' });
  const keep = (id: string, sandbox: string, text: string) =>
    writeFileSync(join(rootDirectory, `${id}_sandbox:${sandbox}.state`), text);
  const state = (sandbox: string, pid = sentry.pid) =>
    JSON.stringify({ status: 'running', sandbox: { id: sandbox, pid } });

  before(() => new Promise((resolve) => sentry.once('spawn', resolve)));
  after(() => {
    sentry.kill('SIGKILL');
    rmSync(rootDirectory, { recursive: true });
  });

  it('is nothing of one that it does not know', async () => assert.equal(await keptState(runsc, 'ff'), undefined));

  it('says that it runs while its sentry is there', async () => {
    keep('0', '0', state('0'));
    assert.deepEqual(await keptState(runsc, '0'), { status: 'running', sentryPid: sentry.pid, alive: true });
    assert.equal(processesOf(runsc, '0')?.sentryPid, sentry.pid);
  });

  it('of one that shares a sandbox, it is the sentry of that sandbox', async () => {
    keep('aa', '0', state('0'));
    assert.equal((await keptState(runsc, 'aa'))?.alive, true);
  });

  it('is not taken for alive where the number is another process by now, or nobody', async () => {
    keep('bb', 'bb', state('bb'));
    assert.equal((await keptState(runsc, 'bb'))?.alive, false);
    keep('cc', 'cc', state('cc', 2 ** 22 + 1));
    assert.equal((await keptState(runsc, 'cc'))?.alive, false);
  });

  it('is read again while it is being written', async () => {
    keep('dd', '0', state('0').slice(0, 20));
    const read = keptState(runsc, 'dd');
    keep('dd', '0', state('0'));
    assert.equal((await read)?.status, 'running');
  });

  it('is unknown, rather than that nothing runs, where it can never be read', async () => {
    keep('ee', 'ee', '');
    await assert.rejects(keptState(runsc, 'ee'), { code: 'state_unknown' });
  });
});
