import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { PARTIAL_SUFFIX } from '../../../src/engine/runtime/gvisor/snapshot.ts';
import { createSnapshotRemoval } from '../../../src/engine/runtime/gvisor/snapshot-removal.ts';
import { until } from '../../support/until.ts';

let parent: string;
const removal = createSnapshotRemoval();
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'sandbox-router-discard-'));
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

it('a snapshot that a checkpoint of an earlier engine still writes does not come back after it was discarded', async () => {
  const directory = join(parent, 'id');
  const partial = directory + PARTIAL_SUFFIX;
  mkdirSync(partial);
  // As runsc does, it makes its directory where there is none any more.
  const script = 'touch "$1/../begun"; sleep 0.5; mkdir -p "$1"; mv -T "$1" "$2"';
  const writer = spawn('/bin/sh', ['-c', script, 'checkpoint', partial, directory]);
  const ended = new Promise((resolve) => writer.once('exit', resolve));
  await until('it writes', () => readdirSync(parent).includes('begun'));
  await removal.discard(directory);
  await ended;
  await removal.finish();
  assert.deepEqual(readdirSync(parent), ['begun']);
});

it('one that nobody writes is gone at once, half or whole, and its room is free once the removal is finished', async () => {
  for (const name of ['half.partial', 'whole']) mkdirSync(join(parent, name));
  await removal.discard(join(parent, 'half'));
  await removal.discard(join(parent, 'whole'));
  assert.deepEqual(readdirSync(parent), ['whole.discarded']);
  await removal.finish();
  assert.deepEqual(readdirSync(parent), []);
});

it('what an engine that was killed did not get to is removed by the next one', async () => {
  mkdirSync(join(parent, 'left.discarded'));
  await removal.discard(join(parent, 'left'));
  await removal.finish();
  assert.deepEqual(readdirSync(parent), []);
});
