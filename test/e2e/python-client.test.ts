import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { projectRoot } from '../support/checkout.ts';
import { type PythonEnvironment, pythonEnvironment } from '../support/python.ts';
import { missingTool } from '../support/tools.ts';
import { type RunningUp, startUp } from '../support/up.ts';

/** Kubernetes' official client for Python, for the API of 1.34. */
const CLIENT = 'kubernetes==34.1.0';

describe(`the official Python client, ${CLIENT}, against "up"`, {
  skip: missingTool('runsc'),
  timeout: 600_000,
}, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-python-client-'));
  let up: RunningUp;
  let python: PythonEnvironment;

  before(async () => {
    [up, python] = await Promise.all([
      startUp({ directory: projectRoot, stateDirectory, runtime: 'gvisor' }),
      pythonEnvironment([CLIENT]),
    ]);
  });
  after(async () => {
    python?.close();
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  it('lists in pages, watches, patches, is told of conflicts, and reaches into pods', async () => {
    const script = join(projectRoot, 'test/e2e/python-client.py');
    const output = await python.run(script, ['python-client'], { KUBECONFIG: up.kubeconfig });
    assert.deepEqual(JSON.parse(output.trim().split('\n').at(-1) ?? ''), {
      stale: [409, 'Conflict'],
      watched: [
        ['ADDED', 'settings', '1'],
        ['MODIFIED', 'settings', '2'],
        ['MODIFIED', 'settings', '3'],
        ['DELETED', 'settings', '3'],
      ],
      pages: [['page-0', 'page-1'], ['page-2', 'page-3'], ['page-4']],
      ready: 'box',
      merge: { merged: 'yes' },
      json: { page: 'no' },
      invalid: [422, 'spec.operatingMode'],
      exec: ['got words\n', 'bad\n', 3],
      forwarded: 'HTTP/1.0 200 OK',
      log: '',
    });
  });
});
