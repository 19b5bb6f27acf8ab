import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { projectRoot } from '../support/checkout.ts';
import { runscOf } from '../support/runsc.ts';
import { type RunningUp, startUp } from '../support/up.ts';

describe('runsc that fails to restore where nothing is wrong with the snapshot', { timeout: 300_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-again-'));
  const stateDirectory = join(directory, 'state');
  const fails = (times: number) => join(directory, `fails-${times}`);
  let up: RunningUp;

  before(async () => {
    const { path } = await runscOf(join(stateDirectory, 'bin'));
    const wrapper = join(directory, 'runsc');
    writeFileSync(
      wrapper,
      `#!/bin/sh
for word; do
  if [ "$word" = restore ]; then
    for times in 1 2; do if rm '${directory}/fails-'$times 2>/dev/null; then exit 128; fi; done
  fi
done
exec '${path}' "$@"
`,
    );
    chmodSync(wrapper, 0o755);
    up = await startUp({
      directory: projectRoot,
      stateDirectory,
      command: ['npm', 'start', '--', '--prepared-sandboxes', '0'],
      environment: { PATH: `${directory}:${process.env.PATH}` },
    });
  });
  after(async () => {
    await up?.interrupt();
    rmSync(directory, { recursive: true, force: true });
  });

  const pause = async () => {
    await up.kubectl('patch', 'sandbox', 'counter', '--type=merge', '-p', '{"spec":{"operatingMode":"Suspended"}}');
    await up.kubectl('wait', '--for=condition=Suspended', 'sandbox/counter', '--timeout=60s');
  };
  const count = async () => {
    const response = await up.request('/counter/');
    assert.equal(response.status, 200, await response.clone().text());
    return ((await response.json()) as { n: number }).n;
  };

  it('is asked once more: the request is answered, from memory', async () => {
    const n = await count();
    await pause();
    writeFileSync(fails(1), '');
    assert.equal(await count(), n + 1);
    assert.equal(existsSync(fails(1)), false);
    assert.match(up.output(), /restoring pod default\/counter, which is tried once more/);
  });

  it('and no oftener: then the request is told', async () => {
    await pause();
    for (const times of [1, 2]) writeFileSync(fails(times), '');
    const response = await up.request('/counter/');
    assert.equal(response.status, 503);
    assert.match(await response.text(), /wake_failed/);
  });
});
