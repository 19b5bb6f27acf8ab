import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { RESUMED_CONDITION } from '../../src/kubernetes/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { footprint, leaked, NOTHING_LEFT } from '../support/leaks.ts';
import { containersOf } from '../support/prepared.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const execute = promisify(execFile);

describe('containers that wait for paused sandboxes', { timeout: 300_000 }, () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-prepared-'));
  const engine = join(stateDirectory, 'engine');
  const command = ['npm', 'start', '--', '--prepared-sandboxes', '1'];
  const start = () => startUp({ directory: projectRoot, stateDirectory, runtime: 'gvisor', command });
  let before_: ReturnType<typeof footprint>;
  let up: RunningUp;

  before(async () => {
    before_ = footprint(stateDirectory);
    up = await start();
  });
  after(async () => {
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  const count = async (name = 'counter'): Promise<number> => {
    const response = await up.request(`/${name}/`);
    assert.equal(response.status, 200, await response.clone().text());
    return ((await response.json()) as { n: number }).n;
  };
  const pause = (name: string) =>
    execute(process.execPath, ['src/cli/main.ts', 'pause', name, '--state-dir', stateDirectory], { cwd: projectRoot });
  const waiting = () => containersOf(stateDirectory, 'created');
  const running = () => containersOf(stateDirectory, 'running').map(({ id }) => id);
  const untilWaits = (hostname: string) =>
    until(`a container waits for ${hostname}`, () =>
      waiting().length === 1 && waiting()[0]?.hostname === hostname ? waiting()[0] : undefined,
    );
  /** Namespaces and links are those of containers that run, and no container waits. */
  const assertNothingExtra = () => {
    assert.deepEqual(waiting(), []);
    const now = leaked(before_, footprint(stateDirectory));
    assert.deepEqual([now.namespaces.length, now.links.length], [running().length, running().length]);
  };

  it('a wake goes into it: same memory, same log, commands find it', async () => {
    const n = await count();
    await pause('counter');
    const prepared = await untilWaits('counter');
    assert.equal(await count(), n + 1);
    assert.ok(running().includes(prepared.id));
    // Where the test itself has the usual priority, as wherever nobody chose another.
    if (getPriority() === 0) assert.equal(getPriority(up.pid), -10);
    const threads = readdirSync(`/proc/${prepared.pid}/task`).map(Number);
    assert.deepEqual([...new Set(threads.map((thread) => getPriority(thread)))], [getPriority()]);
    assert.deepEqual(waiting(), []);
    assert.equal((await up.kubectl('exec', 'counter', '--', 'hostname')).trim(), 'counter');
    await up.kubectl('exec', 'counter', '--', 'sh', '-c', 'echo written > /proc/1/fd/1');
    await until('its output is in the log of its Pod', async () =>
      (await up.kubectl('logs', 'counter')).includes('written'),
    );
  });

  it('no more wait than may: of two sandboxes that were paused as often, the one that was paused last has it', async () => {
    await pause('counter');
    await untilWaits('counter');
    await pause('shell');
    await (await up.request('/shell/')).text();
    await pause('shell');
    await untilWaits('shell');
    const [links, namespaces] = [footprint(stateDirectory).links, footprint(stateDirectory).namespaces];
    const now = leaked(before_, { ...before_, links, namespaces });
    // One more is the network that waits for the other.
    assert.ok(now.links.length <= 2 && now.namespaces.length <= 2, JSON.stringify(now));
  });

  it('it goes with its sandbox', async () => {
    const [{ id } = { id: '' }] = waiting();
    await up.kubectl('delete', 'sandbox', 'shell');
    await untilWaits('counter');
    assert.equal(existsSync(join(engine, 'containers/gvisor', id)), false);
  });

  it('after kill -9 while it waits, it is removed, and its sandbox wakes without', async () => {
    await untilWaits('counter');
    await up.kill();
    up = await start();
    assertNothingExtra();
    const n = await count();
    await pause('counter');
    await untilWaits('counter');
    assert.equal(await count(), n + 1);
  });

  it('one that was killed while it waited is of no use: its sandbox wakes without, and says so', async () => {
    const n = await count();
    await pause('counter');
    const { pid } = await untilWaits('counter');
    process.kill(pid, 'SIGKILL');
    assert.equal(await count(), n + 1);
    await until('the Sandbox says so', async () =>
      (await up.kubectl('get', 'events', '--field-selector', 'reason=PreparedContainerFailed', '-o', 'name')).includes(
        'counter',
      ),
    );
    // Nothing came out of that container, so that connections sleep on.
    const condition = `jsonpath={.status.conditions[?(@.type=="${RESUMED_CONDITION}")].status}`;
    assert.equal(await up.kubectl('get', 'pod', 'counter', '-o', condition), 'True');
    assertNothingExtra();
  });

  it('after kill -9 while it is made, nothing of it is left', async () => {
    const n = await count();
    const earlier = readdirSync(join(engine, 'containers/gvisor'));
    // Looked for from the beginning: on a busy machine the command ends after it was made.
    const pausing = pause('counter').catch(() => {});
    await until('it is being made', () => {
      const ids = new Set([...earlier, ...waiting().map(({ id }) => id)]);
      return readdirSync(join(engine, 'containers/gvisor')).some((id) => !ids.has(id));
    });
    await up.kill();
    await pausing;
    up = await start();
    assertNothingExtra();
    assert.equal(await count(), n + 1);
  });

  it('after kill -9 while its sandbox is restored into it, the sandbox goes on', async () => {
    const n = await count();
    await pause('counter');
    const { id } = await untilWaits('counter');
    const asking = up.request('/counter/').catch(() => undefined);
    await until('the Pod has it', () =>
      readdirSync(join(engine, 'pods')).some(
        (file) => file.endsWith('.json') && readFileSync(join(engine, 'pods', file), 'utf8').includes(id),
      ),
    );
    await up.kill();
    await asking;
    up = await start();
    const after = await count();
    // The request that was cut may have been counted.
    assert.ok(after === n + 1 || after === n + 2, `${after} after ${n}`);
    assertNothingExtra();
  });

  it('for a sandbox with files of its own only the network waits: kill -9 removes it, and a wake goes into it', async () => {
    const container = {
      name: 'counter',
      image: 'sandbox-router.local/toolbox',
      command: ['/opt/sandbox-router/agent/bin/sandbox-router-counter'],
      ports: [{ name: 'http', containerPort: 8080 }],
      volumeMounts: [{ name: 'labels', mountPath: '/etc/labels' }],
    };
    const volumes = [
      { name: 'labels', downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
    ];
    const spec = { runtimeClassName: 'gvisor', containers: [container], volumes };
    await up.apply({
      apiVersion: 'agents.x-k8s.io/v1beta1',
      kind: 'Sandbox',
      metadata: { name: 'labelled', namespace: 'default' },
      spec: { podTemplate: { metadata: { labels: { 'sandbox-router/egress': 'none' } }, spec } },
    });
    await up.kubectl('wait', '--for=condition=Ready', 'sandbox/labelled', '--timeout=60s');
    const ask = () => count('labelled');
    const linksOfOthers = () => {
      const ids = [...running(), ...waiting().map(({ id }) => id)];
      return footprint(stateDirectory).links.filter((link) => !ids.some((id) => link.endsWith(id)));
    };
    const n = await ask();
    await pause('labelled');
    await until('its network waits', () => linksOfOthers().length === 1);
    await up.kill();
    up = await start();
    assertNothingExtra();
    assert.equal(await ask(), n + 1);
    await pause('labelled');
    const [link = ''] = await until('its network waits', () => {
      const links = linksOfOthers();
      return links.length === 1 ? links : undefined;
    });
    assert.equal(await ask(), n + 2);
    assert.ok(
      running().some((id) => link.endsWith(id)),
      `${link} is not of ${running()}`,
    );
    assert.equal((await up.kubectl('exec', 'labelled', '--', 'cat', '/etc/labels/name')).trim(), 'labelled');
    await up.kubectl('delete', 'sandbox', 'labelled');
  });

  it('Ctrl-C removes it', async () => {
    // The engine that made its container knew what by, this one does not.
    await pause('counter');
    await count();
    await pause('counter');
    await untilWaits('counter');
    await up.interrupt();
    assert.deepEqual(leaked(before_, footprint(stateDirectory)), NOTHING_LEFT);
  });
});
