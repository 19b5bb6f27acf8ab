import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  loadKubeConfig,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type SandboxWarmPool,
} from '../../src/kubernetes/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { freePort } from '../support/free-port.ts';
import { type PythonEnvironment, pythonEnvironment } from '../support/python.ts';
import { rawRequest } from '../support/raw-request.ts';
import { missingTool, toolPath } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

/** The release whose wheel the design was read from. */
const SDK = 'k8s-agent-sandbox==1.0.8';

describe(`the published Python SDK, ${SDK}, against "up"`, {
  skip: missingTool('runsc', 'kubectl'),
  timeout: 600_000,
}, () => {
  let stateDirectory: string;
  let up: RunningUp;
  let python: PythonEnvironment;
  let client: HttpResourceClient;

  before(async () => {
    stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-sdk-'));
    const command = [process.execPath, join(projectRoot, 'src/cli/main.ts'), 'up'];
    const example = join(projectRoot, 'test/e2e/python-sdk.yaml');
    [up, python] = await Promise.all([
      startUp({ directory: projectRoot, stateDirectory, command: [...command, '--example', example] }),
      pythonEnvironment([SDK.replace('==', '[grpc]==')]),
    ]);
    client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
    await until('the pool is filled', async () => {
      const key = { namespace: 'default', name: 'python' };
      return (await client.get<SandboxWarmPool>(SANDBOX_WARM_POOLS, key)).status?.readyReplicas === 1;
    });
  });
  after(async () => {
    python?.close();
    await client?.close();
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  const onlyThePoolIsLeft = () =>
    until('only the pool is left', async () => {
      const { items } = await client.list(SANDBOXES, { namespace: 'default' });
      return items.every(({ metadata }) => metadata.ownerReferences?.[0]?.kind === 'SandboxWarmPool');
    });

  it('claims a warm sandbox and works in it, then a cold one, and deletes both', async () => {
    const script = join(projectRoot, 'test/e2e/python-sdk.py');
    const output = await python.run(script, [up.url, up.token, 'python', 'python-open'], { KUBECONFIG: up.kubeconfig });
    const { claim, sandbox, ...seen } = JSON.parse(output.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
    assert.match(String(claim), /^sandbox-claim-[0-9a-f]{8}$/);
    assert.match(String(sandbox), /^python-[a-z0-9]{5}$/);
    assert.deepEqual(seen, {
      listed: [['default', claim]],
      run: ['out\n', 'err\n', 3, false],
      python: '42\n',
      'timed out': ['before\n', true],
      read: true,
      streamed: true,
      text: 'kept ä\n',
      names: [
        ['data', 'directory', (seen.names as [string, string, number][])[0]?.[2]],
        ['notes.txt', 'file', 8],
        ['streamed.bin', 'file', 1 << 20],
      ],
      exists: [true, false],
      missing: 'SandboxRequestError',
      again: 'kept ä\n',
      cold: [true, 'hello\n'],
      'no pool': 'SandboxWarmPoolNotFoundError',
      deleted: 'SandboxNotFoundError',
    });
    await onlyThePoolIsLeft();
  });

  it('runs the example of deploy/ as it stands there', async () => {
    const output = await python.run(join(projectRoot, 'deploy/examples/python-sdk.py'), [], {
      KUBECONFIG: up.kubeconfig,
      SANDBOX_ROUTER_URL: up.url,
      SANDBOX_ROUTER_TOKEN: up.token,
      SANDBOX_NAMESPACE: 'default',
    });
    assert.match(output, /^[a-z0-9-]+: exit code 0, 42\nkept while the sandbox sleeps\n$/);
    await onlyThePoolIsLeft();
  });

  /** Runs one of the scripts beside this file and gives what it saw. */
  async function seenBy(script: string, ...commandLine: string[]): Promise<Record<string, unknown>> {
    const path = join(projectRoot, 'test/e2e', script);
    const output = await python.run(path, commandLine, { KUBECONFIG: up.kubeconfig });
    return JSON.parse(output.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
  }

  it('works with the sandboxd runtime: processes over gRPC, files over REST', async () => {
    assert.deepEqual(await seenBy('python-sdk-sandboxd.py', 'python'), {
      run: ['out\n', 'err\n', 3, false],
      'timed out': [124, true],
      read: true,
      'read to': [1 << 20, true],
      names: [
        ['data', 'directory', '0755'],
        ['notes ä.txt', 'file', '0644'],
        ['streamed.bin', 'file', '0644'],
      ],
      exists: [true, false],
      environment: '/workspace/data\nhello\n',
      'not empty': 409,
      left: ['streamed.bin'],
      missing: 404,
    });
    await onlyThePoolIsLeft();
  });

  it('takes snapshots, suspends, resumes with its memory, and goes back to an earlier one', async () => {
    const seen = await seenBy('python-sdk-snapshots.py', up.url, up.token, 'python');
    assert.deepEqual(seen, {
      steps: [2, 3, 4, 3],
      first: [true, ''],
      listed: true,
      source: true,
      suspend: [true, '', true],
      'while suspended': [4, true],
      resume: [true, true, '', true],
      restore: [true, true, '', true],
      file: ['second', 'first'],
      'restore while running': 'Sandbox is currently running and cannot be restored.',
      deleted: [true, false],
      'all deleted': [true, []],
      'restore of none': 'does not exist for this sandbox.',
      fresh: [true, false, ''],
      files: [],
    });
    await onlyThePoolIsLeft();
    const snapshots = join(stateDirectory, 'engine', 'snapshots');
    await until('no data is left', () => readdirSync(snapshots).length === 0);
  });

  describe('through the port that kubectl forwards', () => {
    let programs: string;
    before(() => {
      programs = join(stateDirectory, 'programs');
      mkdirSync(programs);
      symlinkSync(toolPath('kubectl'), join(programs, 'kubectl'));
    });

    it('claims, works, takes snapshots, sleeps and wakes with no setting at all, in both runtimes', async () => {
      const path = join(projectRoot, 'test/e2e/python-sdk-tunnel.py');
      const output = await python.run(path, ['python'], {
        KUBECONFIG: up.kubeconfig,
        PATH: `${programs}:${process.env.PATH}`,
      });
      const tour = {
        run: ['kept ä\n', 'err\n', 3],
        read: 'kept ä\n',
        names: ['notes.txt'],
        exists: [true, false],
      };
      assert.deepEqual(JSON.parse(output.trim().split('\n').at(-1) ?? ''), {
        default: tour,
        snapshots: [true, true, true, true],
        'same process': 'runs\n',
        sandboxd: tour,
      });
      await onlyThePoolIsLeft();
    });

    it('lets nobody in but who forwards it, and no web page', async () => {
      const port = await freePort();
      const forwarding = spawn(
        join(programs, 'kubectl'),
        [
          '--kubeconfig',
          up.kubeconfig,
          '-n',
          'agent-sandbox-system',
          'port-forward',
          'svc/sandbox-router-svc',
          `${port}:8080`,
        ],
        { stdio: 'ignore' },
      );
      const ask = async (url: string, headers: Record<string, string> = {}) =>
        (await rawRequest(url, { path: '/nobody/', headers })).status;
      const forwarded = `http://127.0.0.1:${port}`;
      try {
        await until('it forwards', () => ask(forwarded).catch(() => undefined));
        // 404: who asks may know that there is none.
        assert.equal(await ask(forwarded), 404);
        assert.equal(await ask(forwarded, { host: `localhost:${port}` }), 404);
        assert.equal(await ask(up.url), 401);
        assert.equal(await ask(forwarded, { host: 'rebound.example.com' }), 401);
        const page = {
          origin: 'https://evil.example.com',
          'sec-fetch-site': 'cross-site',
          'sec-fetch-mode': 'no-cors',
        };
        assert.equal(await ask(forwarded, page), 403);
      } finally {
        const ended = once(forwarding, 'exit');
        forwarding.kill();
        await ended;
      }
    });

    it('is a Service and a Pod that kubectl shows', async () => {
      assert.match(
        await up.kubectl('-n', 'agent-sandbox-system', 'get', 'pods,services'),
        /^pod\/sandbox-router +1\/1 +Running [\s\S]*^service\/sandbox-router-svc .* 8080\/TCP/m,
      );
    });
  });

  it('is the version that the example names', () =>
    assert.ok(readFileSync(join(projectRoot, 'deploy/examples/python-sdk.py'), 'utf8').includes(`pip install ${SDK}`)));
});
