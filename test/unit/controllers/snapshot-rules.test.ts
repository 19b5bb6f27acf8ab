import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compatibilityOf, incompatibility } from '../../../src/engine/controllers/pod/compatibility.ts';
import { snapshotName } from '../../../src/engine/controllers/pod/pod-snapshots.ts';
import { snapshotsInUse } from '../../../src/engine/controllers/pod/recover.ts';
import { podSnapshotOf } from '../../../src/engine/controllers/snapshot/pod-snapshot.ts';
import { surplusSnapshots } from '../../../src/engine/controllers/snapshot/retention.ts';
import { cpuFeatures } from '../../../src/engine/runtime/gvisor/cpu-features.ts';
import type { Pod, PodSnapshot, PodSnapshotPolicy, Sandbox } from '../../../src/kubernetes/index.ts';

const snapshot = (name: string, second: number, labels: Record<string, string>, cause = 'trigger'): PodSnapshot => ({
  apiVersion: 'podsnapshot.gke.io/v1',
  kind: 'PodSnapshot',
  metadata: {
    name,
    namespace: 'default',
    labels,
    annotations: { 'sandbox-router/snapshot-cause': cause },
    creationTimestamp: `2026-01-01T00:00:0${second}Z`,
    ownerReferences: [{ apiVersion: 'v1', kind: 'Sandbox', name: labels.box ?? '', uid: labels.box ?? '' }],
  },
});
const policy = (count: number | undefined, groupBy: string[], matchLabels = {}, namespace = 'default') =>
  ({
    apiVersion: 'podsnapshot.gke.io/v1',
    kind: 'PodSnapshotPolicy',
    metadata: { name: 'keep', namespace },
    spec: {
      selector: { matchLabels },
      snapshotGroupingRules: {
        groupByLabelValue: { labels: groupBy },
        ...(count === undefined ? {} : { groupRetentionPolicy: { maxSnapshotCountPerGroup: count } }),
      },
    },
  }) satisfies PodSnapshotPolicy;

describe('which snapshots are too many', () => {
  const manual = [1, 2, 3, 4, 5].map((second) => snapshot(`a${second}`, second, { box: 'a', app: 'x' }));
  const other = [1, 2].map((second) => snapshot(`b${second}`, second, { box: 'b', app: 'x' }));
  const suspended = [1, 2, 3, 4, 5].map((second) => snapshot(`s${second}`, second, { box: 'c' }, 'suspend'));
  const cases: [what: string, snapshots: PodSnapshot[], policies: PodSnapshotPolicy[], surplus: string[]][] = [
    ['what a user asked for stays while no policy counts it', manual, [], []],
    ['of automatic ones a Sandbox keeps three', suspended, [], ['s1', 's2']],
    ['a policy keeps the newest of each group', [...manual, ...other], [policy(2, ['box'])], ['a1', 'a2', 'a3']],
    ['without labels to group by, all are one group', [...manual, ...other], [policy(5, [])], ['a1', 'b1']],
    ['a policy for other Pods counts nothing', manual, [policy(1, [], { app: 'y' })], []],
    ['a policy of another namespace counts nothing', manual, [policy(1, [], {}, 'other')], []],
    ['a policy without a count keeps all', manual, [policy(undefined, ['box'])], []],
    ['a policy may keep more automatic ones', suspended, [policy(4, ['box'])], ['s1']],
  ];
  for (const [what, snapshots, policies, surplus] of cases)
    it(what, () => {
      const names = surplusSnapshots(snapshots.toReversed(), policies).map(({ metadata }) => metadata.name);
      assert.deepEqual(names.sort(), surplus);
    });

  it('when they were taken counts, not when their objects were made: after a crash one may be made again', () => {
    const [older, newer] = [1000, 2000].map((takenAtMs) =>
      podSnapshotOf({
        namespace: 'default',
        name: `a${takenAtMs}`,
        pod: 'box',
        labels: {},
        cause: 'suspend',
        takenAtMs,
      }),
    ) as [PodSnapshot, PodSnapshot];
    older.metadata.creationTimestamp = '2026-01-01T00:00:09Z';
    newer.metadata.creationTimestamp = '2026-01-01T00:00:05Z';
    assert.deepEqual(surplusSnapshots([older, newer], [policy(1, [])]), [older]);
  });

  it('of those of one second the later stays: its name comes first', () => {
    const [older = '', newer = ''] = [1000, 1001].map((atMs) => snapshotName('box', atMs));
    assert.ok(newer < older);
    const both = [older, newer].map((name) => snapshot(name, 1, { box: 'a' }));
    assert.deepEqual(
      surplusSnapshots(both, [policy(1, [])]).map(({ metadata }) => metadata.name),
      [older],
    );
  });
});

describe('which snapshots are in use after a crash', () => {
  const box = (snapshot?: string) =>
    ({ metadata: { name: 'box', annotations: { 'sandbox-router/snapshot': snapshot } } }) as unknown as Sandbox;
  const pod = (from?: string) =>
    ({ metadata: { name: 'box', uid: 'pod', annotations: { 'sandbox-router/restore-from': from } } }) as unknown as Pod;
  const cases: [
    what: string,
    box: Sandbox,
    pods: Pod[],
    phase: Parameters<typeof snapshotsInUse>[2],
    used: string[],
  ][] = [
    ['what a Sandbox sleeps in', box('a'), [], () => undefined, ['a']],
    ['what a Pod is restored from', box('a'), [pod('a')], () => 'waiting', ['a', 'hibernated-pod', 'pod']],
    ['not what a Pod that runs came from', box(), [pod('a')], () => 'running', ['hibernated-pod', 'pod']],
    [
      'not what a Pod came from that was stopped into its own since, of which its Sandbox has not heard',
      box(),
      [pod('a')],
      () => 'stopped-for-snapshot',
      ['hibernated-pod', 'pod'],
    ],
  ];
  for (const [what, sandbox, pods, phase, used] of cases)
    it(what, () => assert.deepEqual([...snapshotsInUse([sandbox], pods, phase)].sort(), used));
});

describe('what a snapshot fits', () => {
  const runtime = { runtime: 'runsc release-1', cpuFeatures: ['avx', 'sse'] };
  const pod = (container: object = {}, labels = {}): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'box', labels },
    spec: { containers: [{ name: 'main', image: 'toolbox', command: ['serve'], ...container }] },
  });
  const taken = compatibilityOf(pod(), runtime);
  const cases: [what: string, now: Pod, machine: typeof runtime, problem: RegExp | undefined][] = [
    ['the same again', pod(), runtime, undefined],
    ['a CPU that has more', pod(), { ...runtime, cpuFeatures: ['avx', 'avx512f', 'sse'] }, undefined],
    ['a CPU that lacks something', pod(), { ...runtime, cpuFeatures: ['sse'] }, /lacks avx,/],
    ['another runsc', pod(), { ...runtime, runtime: 'runsc release-2' }, /runsc release-1, this is runsc release-2/],
    ['another image', pod({ image: 'other' }), runtime, /image toolbox, the Pod is to run other/],
    ['another command', pod({ command: ['serve', '-v'] }), runtime, /template was changed since/],
    ['another variable', pod({ env: [{ name: 'A', value: '1' }] }), runtime, /template was changed since/],
    ['other labels and ports', pod({ ports: [{ containerPort: 1 }] }, { a: 'b' }), runtime, undefined],
  ];
  for (const [what, now, machine, problem] of cases)
    it(what, () => {
      const found = incompatibility(taken, compatibilityOf(now, machine));
      if (problem === undefined) assert.equal(found, undefined);
      else assert.match(found ?? '', problem);
    });

  it('counts only what all CPUs have', () => {
    const cpuinfo = 'processor : 0\nflags\t\t: sse avx fpu\n\nprocessor : 1\nflags\t\t: fpu sse\n';
    assert.deepEqual(cpuFeatures(cpuinfo), ['fpu', 'sse']);
    assert.deepEqual(cpuFeatures('Features\t: fp asimd\n'), ['asimd', 'fp']);
    assert.ok(cpuFeatures().length > 0);
  });
});
