import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ROUTER_NODE_OPTIONS } from '../../src/cli/bootstrap.mjs';
import { projectRoot } from '../support/checkout.ts';
import { carryOut, type Stage } from '../support/dockerfile.ts';
import { type KubeApiServer, startKubeApiServer } from '../support/kube-apiserver.ts';
import { writeKeys } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';

describe('what the Dockerfile makes', { skip: missingTool('etcd', 'kube-apiserver'), timeout: 400_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-image-'));
  let image: Stage;
  let kube: KubeApiServer;

  before(async () => {
    kube = await startKubeApiServer();
    image = await carryOut(projectRoot, directory);
  });
  after(async () => {
    await kube?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Starts it as a container would be, with Node of this machine in place of the image's. */
  function start(commandLine: readonly string[]) {
    const [node, ...entrypoint] = image.entrypoint;
    assert.equal(node, '/nodejs/bin/node', 'where distroless images have it');
    assert.deepEqual(entrypoint.slice(0, -1), ROUTER_NODE_OPTIONS, 'as the launcher starts a router');
    const child = spawn(process.execPath, [...entrypoint, ...commandLine], {
      cwd: image.workingDirectory,
      // Nothing of the checkout, nor of whoever runs this.
      env: { PATH: '/nonexistent', ...image.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    process.once('exit', () => child.kill('SIGKILL'));
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
    return { child, output: () => output };
  }

  it('has no development dependencies, no second Node and no source, and runs as a user without rights', () => {
    for (const absent of ['node_modules/typescript', 'node_modules/@biomejs', 'node_modules/node', 'src', 'test'])
      assert.ok(!existsSync(join(image.workingDirectory, absent)), absent);
    assert.deepEqual(globSync('node_modules/node-bin-*', { cwd: image.workingDirectory }), []);
    assert.ok(existsSync(join(image.workingDirectory, 'LICENSE')));
    assert.equal(image.user, 'nonroot');
    assert.deepEqual(image.command, ['serve']);
  });

  it('becomes ready in front of a cluster, and ends on SIGTERM as the first process of a container must', async () => {
    const keys = writeKeys(directory, { admin: { tenant: 'default', namespaces: '*' } });
    const addresses = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--shutdown-delay', '0s'];
    const { child, output } = start([
      ...image.command,
      ...addresses,
      ...['--kubeconfig', kube.kubeconfigPath, '--api-keys-file', keys.path],
    ]);
    const ended = once(child, 'exit');
    const admin = await until('it listens', () => {
      if (child.exitCode !== null) throw new Error(output());
      return /^ *admin +(\S+)/m.exec(output())?.[1];
    });
    await until('it is ready', async () => (await fetch(`${admin}/readyz`)).ok);
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null], output());
  });

  it('says what is wrong with a command line, in one line', async () => {
    const { child, output } = start(['serve', '--hold-time', '5s']);
    const [code] = (await once(child, 'exit')) as [number];
    assert.notEqual(code, 0);
    assert.match(output(), /--hold-time/);
    assert.doesNotMatch(output(), /\n\s+at /, 'no stack');
  });
});
