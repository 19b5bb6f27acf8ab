import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { makeToolbox } from '../../../src/engine/images/toolbox.ts';

it('the built-in image can be laid out again over what an earlier engine left', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-toolbox-'));
  try {
    const options = { directory, nodePath: process.execPath, agentDirectory: '/opt/agent' };
    assert.deepEqual(makeToolbox(options), makeToolbox(options));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
