import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { untilEarlierCallsEnd } from '../../../src/engine/runtime/gvisor/processes.ts';
import type { Runsc } from '../../../src/engine/runtime/gvisor/runsc.ts';

describe('an engine that starts', () => {
  const runsc = { rootDirectory: `/run/test-of-earlier-calls-${process.pid}` } as Runsc;
  /** A process with such a command line, for as long as the pipe is open. */
  const call = (...words: string[]) =>
    spawn('/bin/sh', ['-c', 'read -r line', ...words], { stdio: ['pipe', 'ignore', 'ignore'] });

  for (const command of ['create', 'restore', 'start', 'checkpoint'])
    it(`waits for a ${command} that an earlier one began`, async () => {
      const child = call('runsc', `--root=${runsc.rootDirectory}`, command, 'a1');
      await once(child, 'spawn');
      let over = false;
      const waited = untilEarlierCallsEnd(runsc).then(() => {
        over = true;
      });
      await new Promise((resolve) => setTimeout(resolve, 60));
      assert.equal(over, false);
      child.stdin?.end();
      await waited;
    });

  it('waits neither for containers that run nor for those of others', async () => {
    const others = [
      spawn('/bin/sh', ['-c', 'read -r line', `--root=${runsc.rootDirectory}`, 'boot', 'a1'], {
        argv0: 'runsc-sandbox',
      }),
      call('runsc', '--root=/run/another', 'checkpoint', 'a1'),
    ];
    await Promise.all(others.map((child) => once(child, 'spawn')));
    await untilEarlierCallsEnd(runsc);
    for (const child of others) child.stdin?.end();
  });
});
