import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LocalPod } from '../../../src/engine/controllers/pod/local-pods.ts';
import { type RecoveryOptions, recoverPods } from '../../../src/engine/controllers/pod/recover.ts';
import type { ContainerState } from '../../../src/engine/runtime/index.ts';
import type { Pod } from '../../../src/kubernetes/index.ts';

const RECORD = { uid: 'u', namespace: 'default', name: 'box', containerId: 'c', address: '10.0.0.2', restartCount: 0 };

/** An engine that starts with one Pod, whose container is in these states one look after the other, and whose checkpoint fails. */
function world(states: (ContainerState | Error)[], { begun = false } = {}) {
  const did: string[] = [];
  const locals = new Map<string, LocalPod>();
  const later: (() => Promise<void>)[] = [];
  const pod = { metadata: { uid: 'u', namespace: 'default', name: 'box' }, spec: { containers: [] } } as unknown as Pod;
  const options = {
    pods: new Map([['default/box', pod]]),
    sandboxes: new Map(),
    locals,
    records: { all: () => [{ ...RECORD, startedAt: '2026-01-01T00:00:00Z' }], remove: () => {} },
    snapshots: { begun: () => begun, exists: () => false, list: () => [] },
    runner: {
      adopt: (_: Pod, record: LocalPod['record']) => ({
        record,
        container: { phase: 'waiting', reason: 'ContainerCreating' },
        stopping: false,
      }),
      checkpoint: async (_: Pod, local: LocalPod) => {
        did.push('checkpoint');
        local.checkpoint = { status: 'False', message: 'no space left' };
      },
      foundRunning: () => {},
      followAgain: async (_: Pod, local: LocalPod) => {
        did.push('follow');
        local.container = { phase: 'running', ready: false };
      },
      ended: async () => did.push('ended'),
      sweep: () => {},
    },
    runtime: {
      state: async () => {
        const state = states.shift();
        if (state instanceof Error) throw state;
        return state;
      },
      list: async () => ['c'],
      stop: async () => did.push('stop'),
      durableSnapshots: true,
    },
    network: {
      adopt: () => {},
      open: async () => did.push('open'),
      list: async () => ['c'],
      detach: async () => did.push('detach'),
    },
    containers: { set: () => {} },
    podSnapshots: [],
    publish: async () => {},
    failed: (what: string) => did.push(`failed ${what}`),
    later: (_: LocalPod, work: () => Promise<void>) => later.push(work),
  };
  return { did, later, locals, options: options as unknown as RecoveryOptions };
}

describe('a container that an earlier engine left', () => {
  it('is followed again while it runs', async () => {
    const { did, options } = world([{ state: 'running' }]);
    await recoverPods(options);
    assert.deepEqual(did, ['open', 'follow']);
  });

  it('is left alone while nobody can tell whether it runs, and looked at again', async () => {
    const { did, later, locals, options } = world([new Error('no answer'), { state: 'running' }]);
    await recoverPods(options);
    assert.deepEqual(did, ['failed pod default/box'], 'neither stopped nor taken for ended');
    assert.deepEqual(locals.get('u')?.container, {
      phase: 'waiting',
      reason: 'ContainerStatusUnknown',
      message: 'no answer',
    });
    await later.shift()?.();
    assert.deepEqual(did.slice(1), ['open', 'follow']);
    assert.equal(later.length, 0);
  });

  it('goes on where the checkpoint that was under way fails', async () => {
    const { did, options } = world([{ state: 'running' }], { begun: true });
    await recoverPods(options);
    assert.deepEqual(did, ['checkpoint', 'open', 'follow']);
  });

  it('has ended where it runs no more', async () => {
    const { did, options } = world([{ state: 'exited', exitCode: 3 }]);
    await recoverPods(options);
    assert.deepEqual(did, ['detach', 'ended']);
  });
});
