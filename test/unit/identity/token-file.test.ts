import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { tokenIn } from '../../../src/cli/token-file.ts';

it('reads a token from a file, names a file that is not there, and repeats no token that was given instead of one', (test) => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-test-'));
  test.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'token'), 'c2VjcmV0LXNlY3JldA\n');
  assert.equal(tokenIn(join(directory, 'token')), 'c2VjcmV0LXNlY3JldA');
  assert.throws(() => tokenIn(join(directory, 'none')), {
    message: new RegExp(`token in ${directory}/none \\(ENOENT\\)`),
  });
  for (const token of ['c2VjcmV0LXNlY3JldA', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln'])
    assert.throws(
      () => tokenIn(token),
      ({ message }: Error) => message.includes('name a file that holds it') && !message.includes(token),
    );
});
