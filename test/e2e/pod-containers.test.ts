import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { projectRoot } from '../support/checkout.ts';
import { freePort } from '../support/free-port.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);
const TOOLBOX = 'sandbox-router.local/toolbox';
/** Counts in memory, and answers with the count: shows whether it is the same process. */
const COUNTER = `
n=0
trap 'exit 7' USR1
while true; do n=$((n+1)); echo "count $n"; echo $n > /shared/count; sleep 0.2; done`;

describe('pods of several containers, in one gVisor sandbox', { timeout: 400_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-pod-containers-'));
  let up: RunningUp;

  before(async () => {
    up = await startUp({ directory: projectRoot, stateDirectory });
    await up.apply(
      sandbox('team', {
        volumes: [{ name: 'shared', emptyDir: { sizeLimit: '8Mi' } }],
        initContainers: [
          shell('prepare', 'echo prepared > /shared/file; date +%s%N > /shared/prepared-at; echo "init is done"'),
          {
            ...shell('files', 'exec python3 -u -m http.server 7000 --directory /shared'),
            restartPolicy: 'Always',
            ports: [{ containerPort: 7000 }],
          },
        ],
        containers: [
          {
            name: 'agent',
            image: TOOLBOX,
            ports: [{ containerPort: 8888 }],
            volumeMounts: mounts('/workspace/shared'),
          },
          shell('counter', COUNTER),
        ],
      }),
    );
    await ready('team');
  });
  after(async () => {
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  it('all count: init containers first, sidecars among the others', async () => {
    assert.match(await up.kubectl('get', 'pod', 'team', '--no-headers'), /^team\s+3\/3\s+Running\s+0\s/);
    const path =
      '{range .status.initContainerStatuses[*]}{.name}={.state.terminated.reason}{.ready} {end}{range .status.containerStatuses[*]}{.name}={.ready} {end}';
    assert.equal(
      await up.kubectl('get', 'pod', 'team', '-o', `jsonpath=${path}`),
      'prepare=Completedtrue files=true agent=true counter=true ',
    );
  });

  it('they share memory and loopback, and each has its own processes', async () => {
    assert.equal(await run('team', 'agent', 'cat /workspace/shared/file'), 'prepared\n');
    assert.equal(
      await run(
        'team',
        'agent',
        'python3 -c "import urllib.request as u; print(u.urlopen(\'http://127.0.0.1:7000/file\').read().decode())"',
      ),
      'prepared\n\n',
    );
    assert.equal(await run('team', 'files', 'grep -a -c http.server /proc/1/cmdline'), '1\n');
    assert.equal(await run('team', 'counter', 'grep -a -c http.server /proc/1/cmdline || true'), '0\n');
  });

  it('an emptyDir keeps its bound', async () => {
    const written = await run(
      'team',
      'agent',
      'dd if=/dev/zero of=/workspace/shared/big bs=1M count=20 2>/dev/null; echo $?; rm /workspace/shared/big',
    );
    assert.equal(written, '1\n');
  });

  it('each has a log of its own', async () => {
    assert.equal(await up.kubectl('logs', 'team', '-c', 'prepare'), 'init is done\n');
    assert.match(await up.kubectl('logs', 'team', '-c', 'counter', '--tail=1'), /^count \d+\n$/);
    assert.match(await up.kubectl('logs', 'team', '-c', 'files'), /GET \/file/);
    await assert.rejects(
      up.kubectl('exec', 'team', '-c', 'absent', '--', 'true'),
      /container absent is not valid|container not found/i,
    );
  });

  it('the router and port-forward reach the ports of all of them, port-forward also those on the loopback inside', async () => {
    const answer = await up.request('/team:7000/file');
    assert.equal(await answer.text(), 'prepared\n');
    const inside = 'python3 -m http.server 7001 --bind 127.0.0.1 --directory /shared >/dev/null 2>&1';
    await run('team', 'counter', `setsid ${inside} </dev/null &`);
    // kubectl ends with the first connection that is refused.
    const listens =
      'until python3 -c "import socket; socket.create_connection((\'127.0.0.1\', 7001))"; do sleep 0.1; done';
    await run('team', 'counter', `${listens} 2>/dev/null`);
    const ports = [await freePort(), await freePort(), await freePort()];
    const [agent, files, loopback] = ports;
    const forwarding = spawn('kubectl', [
      ...['--kubeconfig', up.kubeconfig, 'port-forward', 'pod/team'],
      ...[`${agent}:8888`, `${files}:7000`, `${loopback}:7001`],
    ]);
    let said = '';
    for (const stream of [forwarding.stdout, forwarding.stderr])
      stream.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
    try {
      await until('it listens', () => ports.every((port) => said.includes(`127.0.0.1:${port} ->`)));
      for (const port of [files, loopback])
        assert.equal(await (await fetch(`http://127.0.0.1:${port}/file`)).text(), 'prepared\n');
      assert.equal((await fetch(`http://127.0.0.1:${agent}/`)).status, 200);
    } finally {
      const ended = once(forwarding, 'exit');
      if (forwarding.exitCode === null && forwarding.kill('SIGINT')) await ended;
    }
  });

  it('the log of one that prints without end takes a bounded part of the disk, and no other log suffers', async () => {
    const uid = await up.kubectl('get', 'pod', 'team', '-o', 'jsonpath={.metadata.uid}');
    const log = join(stateDirectory, 'engine', 'logs', `${uid}.files.log`);
    const before = await up.kubectl('logs', 'team', '-c', 'counter', '--limit-bytes=8');
    await run('team', 'files', 'seq -f "line %.0f of the flood" 1 1600000 > /proc/1/fd/1');
    await until('old output was let go', () => {
      const { size, blocks } = statSync(log);
      return size > 30 * 2 ** 20 && blocks * 512 < 25 * 2 ** 20;
    });
    assert.match(await up.kubectl('logs', 'team', '-c', 'files', '--tail=1'), /^line 1600000 of the flood\n$/);
    assert.equal(await up.kubectl('logs', 'team', '-c', 'counter', '--limit-bytes=8'), before);
  });

  it('one that ends is started again alone, and tells of its end', async () => {
    const agent = await processOf('agent');
    await run('team', 'counter', 'kill -USR1 1');
    const path = '{.status.containerStatuses[?(@.name=="counter")]';
    await until(
      'it runs again',
      async () => (await up.kubectl('get', 'pod', 'team', '-o', `jsonpath=${path}.restartCount}`)) === '1',
    );
    assert.equal(await up.kubectl('get', 'pod', 'team', '-o', `jsonpath=${path}.lastState.terminated.exitCode}`), '7');
    await ready('team');
    assert.match(await up.kubectl('logs', 'team', '-c', 'counter', '--previous', '--tail=1'), /^count \d+\n$/);
    assert.match(await up.kubectl('logs', 'team', '-c', 'counter', '--limit-bytes=8'), /^count 1\n$/);
    assert.equal(await processOf('agent'), agent, 'the others went on');
  });

  it('an engine that was killed finds them again', async () => {
    const agent = await processOf('agent');
    await up.kill();
    up = await startUp({ directory: projectRoot, stateDirectory });
    await ready('team');
    assert.equal(await processOf('agent'), agent);
    const before = await count();
    await until('it counts on', async () => (await count()) > before);
    assert.match(await up.kubectl('get', 'pod', 'team', '--no-headers'), /^team\s+3\/3\s+Running\s+1 /);
  });

  it('a pause keeps all of them, and init containers are not run again', async () => {
    const preparedAt = await run('team', 'agent', 'cat /workspace/shared/prepared-at');
    const before = await count();
    await command('pause', 'team');
    const woken = await up.request('/team:7000/file');
    assert.equal(woken.status, 200, await woken.text());
    const after = await until('it counts on', async () => ((await count()) > before ? await count() : undefined));
    assert.ok(after < before + 100, `${before}, then ${after}: the same memory went on`);
    assert.equal(await run('team', 'agent', 'cat /workspace/shared/prepared-at'), preparedAt);
    await ready('team');
    assert.match(await up.kubectl('get', 'pod', 'team', '--no-headers'), /^team\s+3\/3\s+Running\s+0\s/);
  });

  it('one that shares memory and ends after a restore says why it is not started again, and the others run on', async () => {
    const agent = await processOf('agent');
    await run('team', 'counter', 'kill -USR1 1');
    const path = '{.status.containerStatuses[?(@.name=="counter")].state.waiting.message}';
    await until('it says so', async () =>
      /spec\.containers\[1\]\.volumeMounts: the sandbox was restored/.test(
        await up.kubectl('get', 'pod', 'team', '-o', `jsonpath=${path}`),
      ),
    );
    assert.equal(await processOf('agent'), agent);
  });

  it('an init container that fails is tried again, and the others wait', async () => {
    await up.apply(
      sandbox('failing', {
        initContainers: [shell('first', 'echo no luck; exit 3')],
        containers: [shell('main', 'sleep 1000')],
      }),
    );
    await until('it waits', async () =>
      /Init:(CrashLoopBackOff|Error)/.test(
        await up.kubectl('get', 'pod', 'failing', '--no-headers', '--ignore-not-found'),
      ),
    );
    const path =
      '{.status.initContainerStatuses[0].lastState.terminated.exitCode}{.status.initContainerStatuses[0].lastState.terminated.message}|{.status.containerStatuses[0].state.waiting.reason}|{.status.conditions[?(@.type=="Initialized")].message}';
    assert.equal(
      await up.kubectl('get', 'pod', 'failing', '-o', `jsonpath=${path}`),
      '3no luck|PodInitializing|containers with incomplete status: [first]',
    );
    await up.kubectl('delete', 'sandbox', 'failing', '--wait');
  });

  it('a pod whose containers all end is over, and its sidecars with it', async () => {
    const spec = {
      restartPolicy: 'Never',
      initContainers: [{ ...shell('side', 'sleep 1000'), restartPolicy: 'Always' }],
      containers: [shell('one', 'echo one'), shell('two', 'echo two')],
    };
    await up.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'done', namespace: 'default' },
      spec: { nodeName: 'local', terminationGracePeriodSeconds: 0, ...spec },
    });
    await up.kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/done', '--timeout=60s');
    assert.equal(await up.kubectl('logs', 'done', '-c', 'two'), 'two\n');
    await up.kubectl('delete', 'pod', 'done');
  });

  it('one that is not alive is killed and started again, and the wait for its start is bounded', async () => {
    const probe = {
      exec: { command: ['test', '-e', '/tmp/alive'] },
      periodSeconds: 1,
      timeoutSeconds: 10,
      failureThreshold: 1,
    };
    await up.apply(
      sandbox('sick', {
        containers: [
          {
            ...shell('mortal', 'touch /tmp/alive; sleep 1; rm /tmp/alive; sleep 1000'),
            livenessProbe: { ...probe, failureThreshold: 2 },
          },
          { ...shell('late', 'sleep 1000'), startupProbe: probe },
        ],
      }),
      sandbox('alone', { containers: [{ ...shell('main', 'sleep 1000'), livenessProbe: probe }] }),
    );
    const path = '{range .status.containerStatuses[*]}{.name}={.lastState.terminated.exitCode} {end}';
    for (const [name, wanted] of [
      ['sick', /mortal=137 late=137/],
      ['alone', /main=137/],
    ] as const)
      await until(`${name} was started again`, async () =>
        wanted.test(await up.kubectl('get', 'pod', name, '--ignore-not-found', '-o', `jsonpath=${path}`)),
      );
    const events = await up.kubectl(
      'get',
      'events',
      '-o',
      'jsonpath={range .items[*]}{.reason} {.message}{"\\n"}{end}',
    );
    assert.match(events, /Unhealthy Liveness probe failed: command ended with 1/);
    assert.match(events, /Unhealthy Startup probe failed: command ended with 1/);
    assert.match(events, /Killing Container mortal failed liveness probe, will be restarted/);
    assert.match(events, /Killing Container late failed startup probe, will be restarted/);
    await up.kubectl('delete', 'sandbox', 'sick', 'alone', '--wait');
  });

  it('a container that the engine refuses is named by its place', async () => {
    await up.apply(
      sandbox('refused', {
        containers: [
          shell('one', 'sleep 1000'),
          { ...shell('two', 'sleep 1000'), securityContext: { runAsNonRoot: true } },
        ],
      }),
    );
    const path = '{.status.containerStatuses[1].state.waiting.message}';
    const message = await until(
      'it is refused',
      async () =>
        (await up.kubectl('get', 'pod', 'refused', '--ignore-not-found', '-o', `jsonpath=${path}`)) || undefined,
    );
    assert.match(message, /spec\.containers\[1\]\.securityContext\.runAsNonRoot/);
    await up.kubectl('delete', 'sandbox', 'refused', '--wait');
  });

  it('nothing is left of a deleted one', async () => {
    const uid = await up.kubectl('get', 'pod', 'team', '-o', 'jsonpath={.metadata.uid}');
    const statuses = '{.status.initContainerStatuses[*].containerID} {.status.containerStatuses[*].containerID}';
    const ids = (await up.kubectl('get', 'pod', 'team', '-o', `jsonpath=${statuses}`)).match(/[0-9a-f]{10}/g) ?? [];
    assert.equal(ids.length, 4);
    const left = () =>
      ['containers/gvisor', 'logs', 'filestores', 'pod-files', 'pods']
        .flatMap((directory) => readdirSync(join(stateDirectory, 'engine', directory)))
        .filter((file) => file.startsWith(uid) || ids.includes(file));
    assert.ok(left().length > 0);
    await up.kubectl('delete', 'sandbox', 'team', '--wait');
    await until('nothing is left', () => left().length === 0);
  });

  function mounts(mountPath: string) {
    return [{ name: 'shared', mountPath }];
  }

  function shell(name: string, script: string) {
    const volumeMounts = script.includes('/shared') ? { volumeMounts: mounts('/shared') } : {};
    return { name, image: TOOLBOX, command: ['/bin/sh', '-c', script], ...volumeMounts };
  }

  function sandbox(name: string, spec: object) {
    return {
      apiVersion: 'agents.x-k8s.io/v1beta1',
      kind: 'Sandbox',
      metadata: { name, namespace: 'default', annotations: { 'sandbox-router/port': '8888' } },
      spec: { podTemplate: { spec: { terminationGracePeriodSeconds: 0, ...spec } } },
    };
  }

  async function ready(name: string): Promise<void> {
    await up
      .kubectl('wait', '--for=condition=Ready', `sandbox/${name}`, '--timeout=60s')
      .catch(async (error: Error) => {
        throw new Error(
          `${error.message}\n${up.output()}\n${await up.kubectl('get', 'pod', name, '-o', 'jsonpath={.status}')}`,
        );
      });
  }

  async function run(pod: string, container: string, script: string): Promise<string> {
    return await up.kubectl('exec', pod, '-c', container, '--', '/bin/sh', '-c', script);
  }

  async function count(): Promise<number> {
    return Number(await run('team', 'agent', 'cat /workspace/shared/count'));
  }

  /** When the first process of a container was started, by the clock of its kernel. */
  async function processOf(container: string): Promise<string> {
    return await run('team', container, "cut -d' ' -f22 /proc/1/stat");
  }

  async function command(...words: string[]): Promise<void> {
    await execute(process.execPath, ['src/cli/main.ts', ...words, '--state-dir', stateDirectory], { cwd: projectRoot });
  }
});
