import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, describe, it } from 'node:test';
import { parseMillicores } from '../../../src/config/index.ts';
import { followCpuUse } from '../../../src/engine/controllers/pod/cpu-use.ts';
import { cpuMsOfTrees } from '../../../src/engine/runtime/process-tree.ts';
import {
  ApiError,
  CPU_ACTIVE_ANNOTATION,
  IDLE_CPU_FLOOR_ANNOTATION,
  type Pod,
  type ResourceClient,
  type Sandbox,
} from '../../../src/kubernetes/index.ts';
import { statusOf } from '../../../src/kubernetes/status.ts';
import type { Route } from '../../../src/router/table/index.ts';
import { createCpuUsage, millicoresOf } from '../../../src/router/wake/idle/cpu-usage.ts';
import { until } from '../../support/until.ts';

describe('amounts of CPU', () => {
  for (const [text, millicores] of [
    ['100m', 100],
    ['0.5', 500],
    ['2', 2000],
    ['0', 0],
  ] as const)
    it(`${text} is ${millicores} thousandths`, () => assert.equal(parseMillicores(text), millicores));
  for (const text of ['', 'm', '-1', '5%', '1.5m', '0.00001', '100 m', '1e3'])
    it(`${JSON.stringify(text)} is none`, () => assert.throws(() => parseMillicores(text), /such as 100m or 0.5/));
  it('are written in smaller units by the metrics API', () => {
    assert.equal(millicoresOf('123456789n'), 123.456789);
    assert.equal(millicoresOf('250000u'), 250);
    assert.equal(millicoresOf('250m'), 250);
    assert.equal(millicoresOf('1'), 1000);
    for (const text of [undefined, '', 'many', '1k']) assert.equal(millicoresOf(text), 0);
  });
});

describe('the CPU use of a tree of processes', () => {
  it('is that of a process and of all that descend from it, and of no other', async () => {
    // A shell that waits for a shell that works, as a sentry does for the processes in it.
    const working = spawn('sh', ['-c', 'sh -c "while :; do :; done" & wait'], { detached: true, stdio: 'ignore' });
    const waiting = spawn('sleep', ['60'], { stdio: 'ignore' });
    after(() => {
      process.kill(-(working.pid as number), 'SIGKILL');
      waiting.kill('SIGKILL');
    });
    const use = () => cpuMsOfTrees([working.pid as number, waiting.pid as number, 2 ** 30]);
    await until('the work shows', () => (use()[0] ?? 0) >= 100);
    const [, idle, nobody] = use();
    assert.ok((idle ?? 1000) < 50, `${idle} ms`);
    assert.equal(nobody, 0);
  });
});

describe('the engine, of the CPU use of Pods', () => {
  function world(annotations: Record<string, string>, defaultFloorMillicores: number) {
    const state = { cpuMs: 0, asked: 0, written: 0, annotation: '' };
    const clock = { last: performance.now() };
    const use = { millicores: 0 };
    const stop = followCpuUse({
      client: {
        patch: async (_type: unknown, _key: unknown, patch: { metadata: { annotations: Record<string, string> } }) => {
          state.written++;
          state.annotation = patch.metadata.annotations[CPU_ACTIVE_ANNOTATION] ?? '';
        },
      } as unknown as ResourceClient,
      runtime: {
        cpuMs: (ids) => {
          state.asked++;
          const nowMs = performance.now();
          state.cpuMs += ((nowMs - clock.last) * use.millicores) / 1000;
          clock.last = nowMs;
          return ids.map(() => state.cpuMs);
        },
      },
      running: () => [
        {
          pod: { metadata: { name: 'p', namespace: 'n', uid: 'u' } } as Pod,
          sandbox: { metadata: { name: 'p', annotations } } as unknown as Sandbox,
          containerId: 'c',
        },
      ],
      defaultFloorMillicores,
      now: () => new Date('2026-01-01T00:00:00Z'),
      failed: (_what, error) => assert.fail(error as Error),
      intervalMs: 10,
    });
    after(stop);
    return { state, use };
  }

  it('writes that it is over the floor of its Sandbox, and nothing while it is below', async () => {
    const { state, use } = world({ [IDLE_CPU_FLOOR_ANNOTATION]: '100m' }, 0);
    use.millicores = 50;
    await until('it was looked at', () => state.asked > 5);
    assert.equal(state.written, 0);
    use.millicores = 400;
    await until('it is written', () => state.written > 0);
    assert.equal(state.annotation, '2026-01-01T00:00:00.000Z');
  });

  it('takes the floor of the configuration where the Sandbox has none', async () => {
    const { state, use } = world({}, 100);
    use.millicores = 400;
    await until('it is written', () => state.written > 0);
  });

  for (const [what, annotations, floor] of [
    ['without a floor', {}, 0],
    ['with a floor of 0', { [IDLE_CPU_FLOOR_ANNOTATION]: '0' }, 100],
    ['with a floor that can not be read', { [IDLE_CPU_FLOOR_ANNOTATION]: 'much' }, 100],
  ] as const)
    it(`does not look at those ${what}`, async () => {
      const { state } = world(annotations, floor);
      await new Promise((resolve) => setTimeout(resolve, 60));
      assert.equal(state.asked, 0);
    });
});

describe('the router, of the CPU use that the metrics API tells', () => {
  function world(read: (path: string) => Promise<unknown>, namespaces: string[] = []) {
    const routes = ['busy', 'calm', 'without'].map(
      (name) => ({ sandbox: { namespace: 'n', name, podName: name }, activity: { cpuMs: 0 } }) as unknown as Route,
    );
    const failures: unknown[] = [];
    const usage = createCpuUsage({
      read: read as never,
      table: { find: (namespace, name) => routes.find(({ sandbox }) => namespace === 'n' && sandbox.name === name) },
      namespaces,
      floorMillicoresOf: ({ sandbox }) => (sandbox.name === 'without' ? 0 : 100),
      failed: (_what, error) => failures.push(error),
    });
    return {
      usage,
      failures,
      seen: () => routes.filter(({ activity }) => activity.cpuMs > 0).map((r) => r.sandbox.name),
    };
  }
  const metrics = (name: string, ...cpu: string[]) => ({
    metadata: { namespace: 'n', name },
    containers: cpu.map((used) => ({ usage: { cpu: used } })),
  });

  it('adds up the containers of a Pod, and counts those over their floor', async () => {
    const paths: string[] = [];
    const { usage, seen } = world(async (path) => {
      paths.push(path);
      return {
        items: [
          metrics('busy', '60m', '50000000n'),
          metrics('calm', '20m'),
          metrics('without', '2'),
          metrics('unknown', '2'),
        ],
      };
    });
    usage.ask();
    await until('it has an answer', () => seen().length > 0);
    assert.deepEqual(seen(), ['busy']);
    assert.deepEqual(paths, ['/apis/metrics.k8s.io/v1beta1/pods?labelSelector=agents.x-k8s.io%2Fsandbox-name-hash']);
    usage.ask();
    assert.equal(paths.length, 1, 'there is no news so soon');
  });

  it('asks for its namespaces alone', async () => {
    const paths: string[] = [];
    const { usage } = world(
      async (path) => {
        paths.push(path);
        return {};
      },
      ['a', 'b'],
    );
    usage.ask();
    await until('both were asked for', () => paths.length === 2);
    assert.ok(paths.every((path) => /v1beta1\/namespaces\/[ab]\/pods\?/.test(path)));
  });

  it('says nothing where it is not served, and tells other failures', async () => {
    let asked = 0;
    const missing = world(async () => {
      asked++;
      throw new ApiError(statusOf(404, '', ''));
    });
    missing.usage.ask();
    const refused = world(async () => {
      asked++;
      throw new ApiError(statusOf(403, '', ''));
    });
    refused.usage.ask();
    await until('both were asked', () => asked === 2 && refused.failures.length === 1);
    assert.equal(missing.failures.length, 0);
  });
});
