import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Member, membersOf, nextStep, restartsAfter } from '../../../src/engine/controllers/pod/members.ts';
import { podStatus } from '../../../src/engine/controllers/pod/status.ts';
import type { Container, Pod } from '../../../src/kubernetes/index.ts';

const container = (name: string, more: Partial<Container> = {}): Container => ({ name, image: 'i', ...more });
const END = { message: '', finishedAt: '2026-01-01T00:00:00Z' };

function pod(spec: Partial<Pod['spec']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'n', uid: 'u' },
    spec: {
      initContainers: [container('first'), container('side', { restartPolicy: 'Always' }), container('second')],
      containers: [container('one'), container('two')],
      ...spec,
    },
  };
}

function world(of = pod()) {
  const members = membersOf(of, {}) as Member[];
  const member = (name: string) => members.find((each) => each.container.name === name) as Member;
  const run = (name: string) => {
    member(name).phase = { phase: 'running', ready: true };
    member(name).started = true;
  };
  const end = (name: string, exitCode: number, restartInMs?: number) => {
    member(name).phase = { phase: 'ended', exitCode, ...END, ...(restartInMs === undefined ? {} : { restartInMs }) };
    member(name).started = false;
    member(name).record.end = { exitCode, ...END };
  };
  const next = () => {
    const step = nextStep(members);
    return step === undefined ? 'wait' : 'end' in step ? step.end : step.start.map((each) => each.container.name);
  };
  return { members, member, run, end, next };
}

describe('several containers of a pod', () => {
  it('a pod of one container has no members', () => {
    assert.equal(membersOf(pod({ initContainers: [], containers: [container('one')] }), {}), undefined);
  });

  it('begin in order: init containers one by one, sidecars among them, then all others', () => {
    const { run, end, next } = world();
    assert.deepEqual(next(), ['first']);
    run('first');
    assert.deepEqual(next(), 'wait');
    end('first', 0);
    assert.deepEqual(next(), ['side']);
    run('side');
    assert.deepEqual(next(), ['second']);
    end('second', 0);
    assert.deepEqual(next(), ['one', 'two']);
    run('one');
    assert.deepEqual(next(), ['two']);
    run('two');
    assert.deepEqual(next(), 'wait');
  });

  it('one whose postStart is under way holds back those behind it, and no others', () => {
    const lifecycle = { postStart: { exec: { command: ['true'] } } };
    const containers = [container('before'), container('hooked', { lifecycle }), container('after')];
    const { member, run, end, next } = world(pod({ initContainers: [], containers }));
    assert.deepEqual(next(), ['before', 'hooked']);
    run('before');
    run('hooked');
    member('hooked').isHooked = true;
    assert.equal(next(), 'wait');
    end('before', 1, 0);
    assert.deepEqual(next(), ['before']);
    run('before');
    member('hooked').isHooked = false;
    assert.deepEqual(next(), ['after']);
  });

  it('an init container that failed holds the others back until it is tried again', () => {
    const { member, end, next } = world();
    end('first', 1, 1000);
    member('first').restartTimer = setTimeout(() => {});
    assert.deepEqual(next(), 'wait');
    clearTimeout(member('first').restartTimer);
    delete member('first').restartTimer;
    assert.deepEqual(next(), ['first']);
    end('first', 1);
    assert.deepEqual(next(), 'Failed');
  });

  it('a sidecar that ended is started again before anything else', () => {
    const { run, end, next } = world();
    end('first', 0);
    end('second', 0);
    run('one');
    run('two');
    end('side', 0, 0);
    assert.deepEqual(next(), ['side']);
  });

  it('are over when all but the sidecars are', () => {
    const { run, end, next } = world();
    end('first', 0);
    run('side');
    end('second', 0);
    end('one', 0);
    run('two');
    assert.deepEqual(next(), 'wait');
    end('two', 0);
    assert.deepEqual(next(), 'Succeeded');
    end('one', 3);
    assert.deepEqual(next(), 'Failed');
  });

  it('are started again as the policy and their kind say', () => {
    const cases: [policy: 'Always' | 'OnFailure' | 'Never', kind: Member['kind'], exitCode: number, again: boolean][] =
      [
        ['Always', 'main', 0, true],
        ['OnFailure', 'main', 0, false],
        ['OnFailure', 'main', 1, true],
        ['Never', 'main', 1, false],
        ['Always', 'init', 0, false],
        ['Always', 'init', 1, true],
        ['Never', 'init', 1, false],
        ['Never', 'sidecar', 0, true],
      ];
    for (const [restartPolicy, kind, exitCode, again] of cases)
      assert.equal(
        restartsAfter(pod({ restartPolicy }), kind, exitCode),
        again,
        `${restartPolicy} ${kind} ${exitCode}`,
      );
  });

  it('a pod is ready when all that stay are, and initialized when those before have done their work', () => {
    const { members, run, end } = world();
    const status = () => {
      const findings = members.map((each) => ({
        container: each.container,
        phase: each.phase,
        restartCount: 0,
        started: each.started,
        sidecar: each.kind === 'sidecar',
        completed: each.record.end?.exitCode === 0,
      }));
      const initContainers = findings.slice(0, 3);
      const { phase, conditions } = podStatus(
        { pod: pod(), containers: findings.slice(3), initContainers },
        new Date(0),
      );
      const message = (type: string) => conditions?.find((condition) => condition.type === type)?.message;
      return [phase, message('Initialized'), message('Ready')];
    };
    assert.deepEqual(status(), [
      'Pending',
      'containers with incomplete status: [first side second]',
      'containers with unready status: [side one two]',
    ]);
    end('first', 0);
    run('side');
    end('second', 0);
    run('one');
    run('two');
    assert.deepEqual(status(), ['Running', undefined, undefined]);
    end('two', 1, 1000);
    assert.deepEqual(status(), ['Running', undefined, 'containers with unready status: [two]']);
  });
});
