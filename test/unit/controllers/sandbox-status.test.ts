import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type SandboxFindings, sandboxStatus } from '../../../src/engine/controllers/sandbox/status.ts';
import type { Condition, Pod, Sandbox, Service } from '../../../src/kubernetes/index.ts';

const now = new Date('2026-01-02T03:04:05.678Z');
const sandbox = (spec: Partial<Sandbox['spec']> = {}, conditions?: Condition[]): Sandbox => ({
  apiVersion: 'agents.x-k8s.io/v1beta1',
  kind: 'Sandbox',
  metadata: { name: 'box-a', namespace: 'default', uid: 'sandbox-uid', generation: 7 },
  spec: { podTemplate: { spec: { containers: [{ name: 'main', image: 'i' }] } }, ...spec },
  ...(conditions === undefined ? {} : { status: { conditions } }),
});
const pod = (status: Pod['status'], owner = 'sandbox-uid'): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'box-a',
    namespace: 'default',
    uid: 'pod-uid',
    ownerReferences: [{ apiVersion: 'v1', kind: 'Sandbox', name: 'box-a', uid: owner, controller: true }],
  },
  spec: { containers: [{ name: 'main', image: 'i' }], nodeName: 'node-1' },
  ...(status === undefined ? {} : { status }),
});
const scheduled: Condition = { type: 'PodScheduled', status: 'True' };
const readyPod = pod({
  phase: 'Running',
  conditions: [scheduled, { type: 'Ready', status: 'True' }],
  podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }],
});
const service: Service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'box-a', namespace: 'default' },
  spec: {},
};
const running = { status: 'False', reason: 'NotSuspended', message: 'Sandbox is not suspended' } as const;
const containerStatus = (state: object, lastState?: object) => ({
  name: 'main',
  ready: false,
  restartCount: 0,
  image: 'i',
  imageID: 'i',
  state,
  ...(lastState === undefined ? {} : { lastState }),
});

describe("a Sandbox's status", () => {
  const statusOf = (findings: Partial<SandboxFindings>) =>
    sandboxStatus({ sandbox: sandbox(), suspended: running, clusterDomain: 'cluster.local', ...findings }, now);
  const brief = (findings: Partial<SandboxFindings>) =>
    (statusOf(findings).conditions ?? []).map(
      ({ type, status, reason, message }) => `${type}=${status} ${reason}: ${message}`,
    );

  const NOT_SUSPENDED = 'Suspended=False NotSuspended: Sandbox is not suspended';
  const SCHEDULED = 'PodScheduled=True PodScheduled: ';
  const UNREPORTED = 'PodScheduled=Unknown PodSchedulingUnknown: Pod has not reported a PodScheduled condition yet';
  const suspendedSandbox = sandbox({ operatingMode: 'Suspended' });

  const cases: { name: string; findings: Partial<SandboxFindings>; conditions: string[] }[] = [
    {
      name: 'no Pod yet',
      findings: {},
      conditions: [NOT_SUSPENDED, 'Ready=False DependenciesNotReady: Pod does not exist'],
    },
    {
      name: 'a Pending Pod',
      findings: { pod: pod({ phase: 'Pending' }) },
      conditions: [NOT_SUSPENDED, UNREPORTED, 'Ready=False DependenciesNotReady: Pod exists with phase: Pending'],
    },
    {
      name: 'a Pod that can not be scheduled',
      findings: {
        pod: pod({
          phase: 'Pending',
          conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes' }],
        }),
      },
      conditions: [
        NOT_SUSPENDED,
        'PodScheduled=False Unschedulable: 0/3 nodes',
        'Ready=False DependenciesNotReady: Pod exists with phase: Pending',
      ],
    },
    {
      name: 'a Running Pod that is not Ready',
      findings: { pod: pod({ phase: 'Running', conditions: [scheduled] }) },
      conditions: [NOT_SUSPENDED, SCHEDULED, 'Ready=False DependenciesNotReady: Pod is Running but not Ready'],
    },
    {
      name: 'a Ready Pod without an address',
      findings: {
        pod: pod({ phase: 'Running', conditions: [scheduled, { type: 'Ready', status: 'True' }], podIPs: [] }),
      },
      conditions: [NOT_SUSPENDED, SCHEDULED, 'Ready=False DependenciesNotReady: Pod is Ready but has no podIPs yet'],
    },
    {
      name: 'a Ready Pod',
      findings: { pod: readyPod },
      conditions: [NOT_SUSPENDED, SCHEDULED, 'Ready=True DependenciesReady: Pod is Ready'],
    },
    {
      name: 'a Ready Pod and its Service',
      findings: { sandbox: sandbox({ service: true }), pod: readyPod, service },
      conditions: [NOT_SUSPENDED, SCHEDULED, 'Ready=True DependenciesReady: Pod is Ready; Service Exists'],
    },
    {
      name: 'a Ready Pod, but no Service where one is wanted',
      findings: { sandbox: sandbox({ service: true }), pod: readyPod },
      conditions: [NOT_SUSPENDED, SCHEDULED, 'Ready=False DependenciesNotReady: Pod is Ready; Service does not exist'],
    },
    {
      name: 'a Service that nobody asks for any more',
      findings: { pod: readyPod, service },
      conditions: [NOT_SUSPENDED, SCHEDULED, 'Ready=True DependenciesReady: Pod is Ready; Service Exists'],
    },
    {
      name: 'a Pod that succeeded',
      findings: { pod: pod({ phase: 'Succeeded', conditions: [scheduled] }) },
      conditions: [
        NOT_SUSPENDED,
        'Finished=True PodSucceeded: Pod completed successfully',
        SCHEDULED,
        'Ready=False PodSucceeded: Pod completed successfully',
      ],
    },
    {
      name: 'a Pod that failed, and why',
      findings: {
        pod: pod({
          phase: 'Failed',
          conditions: [scheduled],
          containerStatuses: [containerStatus({ terminated: { exitCode: 3, message: 'no such file' } })],
        }),
      },
      conditions: [
        NOT_SUSPENDED,
        'Finished=True PodFailed: Pod failed: container main exited with code 3; its last lines: no such file',
        SCHEDULED,
        'Ready=False PodFailed: Pod failed: container main exited with code 3; its last lines: no such file',
      ],
    },
    {
      name: 'a container that crashes again and again, and what it said last',
      findings: {
        pod: pod({
          phase: 'Running',
          conditions: [scheduled],
          containerStatuses: [
            containerStatus(
              { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 10s' } },
              { terminated: { exitCode: 1, message: 'oops' } },
            ),
          ],
        }),
      },
      conditions: [
        NOT_SUSPENDED,
        SCHEDULED,
        'Ready=False DependenciesNotReady: Pod is Running but not Ready: container main exited with code 1 (CrashLoopBackOff); its last lines: oops',
      ],
    },
    {
      name: 'an image that does not exist',
      findings: {
        pod: pod({
          phase: 'Pending',
          conditions: [scheduled],
          containerStatuses: [containerStatus({ waiting: { reason: 'ErrImagePull', message: 'no image "x"' } })],
        }),
      },
      conditions: [
        NOT_SUSPENDED,
        SCHEDULED,
        'Ready=False DependenciesNotReady: Pod exists with phase: Pending: container main: ErrImagePull: no image "x"',
      ],
    },
    {
      name: 'a snapshot that can not be restored',
      findings: {
        pod: pod({
          phase: 'Pending',
          conditions: [scheduled],
          containerStatuses: [containerStatus({ waiting: { reason: 'SnapshotRestoreFailed', message: 'cut short' } })],
        }),
      },
      conditions: [NOT_SUSPENDED, SCHEDULED, 'Ready=False SnapshotRestoreFailed: cut short'],
    },
    {
      name: 'several Pods',
      findings: {
        podTrouble: { reason: 'MultiplePods', message: 'multiple Pods (2)' },
        trouble: { reason: 'MultiplePods', message: 'multiple Pods (2)' },
      },
      conditions: [
        NOT_SUSPENDED,
        'PodScheduled=Unknown PodSchedulingUnknown: Pod state is unknown. Pod scheduling cannot be determined',
        'Ready=False MultiplePods: multiple Pods (2)',
      ],
    },
    {
      name: "somebody else's Service",
      findings: { pod: readyPod, trouble: { reason: 'ReconcilerError', message: 'service "box-a" is owned' } },
      conditions: [NOT_SUSPENDED, SCHEDULED, 'Ready=False ReconcilerError: Error seen: service "box-a" is owned'],
    },
    {
      name: 'a suspension under way',
      findings: {
        sandbox: suspendedSandbox,
        pod: readyPod,
        suspended: { status: 'False', reason: 'PodTerminating', message: 'Pod is terminating' },
      },
      conditions: [
        'Suspended=False PodTerminating: Pod is terminating',
        SCHEDULED,
        'Ready=False SandboxSuspended: Sandbox is suspending',
      ],
    },
    {
      name: 'a suspended Sandbox',
      findings: {
        sandbox: suspendedSandbox,
        suspended: { status: 'True', reason: 'PodTerminated', message: 'Pod has been terminated' },
      },
      conditions: [
        'Suspended=True PodTerminated: Pod has been terminated',
        'Ready=False SandboxSuspended: Sandbox is suspended',
      ],
    },
    {
      name: "a suspension that meets somebody else's Pod",
      findings: {
        sandbox: suspendedSandbox,
        pod: pod({ phase: 'Running' }, 'other'),
        suspended: { status: 'False', reason: 'PodNotOwned', message: 'Refused' },
      },
      conditions: ['Suspended=False PodNotOwned: Refused', 'Ready=False SandboxSuspended: Sandbox is suspending'],
    },
    {
      name: 'a suspension whose snapshot failed: the Pod is as ready as it is',
      findings: {
        sandbox: suspendedSandbox,
        pod: readyPod,
        suspended: { status: 'False', reason: 'SnapshotFailed', message: 'no space left' },
      },
      conditions: [
        'Suspended=False SnapshotFailed: no space left',
        SCHEDULED,
        'Ready=True DependenciesReady: Pod is Ready',
      ],
    },
    {
      name: 'a runtime that does not isolate',
      findings: { pod: readyPod, notIsolated: 'plain processes' },
      conditions: [
        NOT_SUSPENDED,
        SCHEDULED,
        'Ready=True DependenciesReady: Pod is Ready',
        'sandbox-router/Isolated=False NoIsolation: plain processes',
      ],
    },
  ];
  for (const { name, findings, conditions } of cases)
    it(`tells of ${name}`, () => assert.deepEqual(brief(findings), conditions));

  it('has addresses, node, selector and Service', () => {
    const { conditions: _, ...rest } = statusOf({ pod: readyPod, service });
    assert.deepEqual(rest, {
      selector: 'agents.x-k8s.io/sandbox-name-hash=4ec24cc4',
      podIPs: ['10.0.0.1', 'fd00::1'],
      nodeName: 'node-1',
      service: 'box-a',
      serviceFQDN: 'box-a.default.svc.cluster.local',
    });
  });

  it("keeps the selector without a Pod, and takes nothing from somebody else's", () => {
    const selector = 'agents.x-k8s.io/sandbox-name-hash=4ec24cc4';
    const before = { ...sandbox(), status: { selector, podIPs: ['10.0.0.1'], nodeName: 'node-1' } };
    const { conditions: _, ...without } = statusOf({ sandbox: before });
    assert.deepEqual(without, { selector });
    const foreign = pod({ phase: 'Running', podIPs: [{ ip: '10.0.0.9' }] }, 'other');
    const { conditions: __, ...rest } = statusOf({ sandbox: before, pod: foreign });
    assert.deepEqual(rest, { selector });
  });

  it('moves lastTransitionTime only when a status flips, and follows the generation', () => {
    const long = '2025-01-01T00:00:00Z';
    const before: Condition[] = [
      { type: 'Suspended', status: 'False', reason: 'PodTerminating', lastTransitionTime: long, observedGeneration: 6 },
      { type: 'Ready', status: 'False', reason: 'SandboxSuspended', lastTransitionTime: long, observedGeneration: 6 },
    ];
    const { conditions = [] } = statusOf({ sandbox: sandbox({}, before), pod: readyPod });
    assert.deepEqual(
      conditions.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]),
      [
        ['Suspended', long],
        ['PodScheduled', '2026-01-02T03:04:05Z'],
        ['Ready', '2026-01-02T03:04:05Z'],
      ],
    );
    assert.ok(conditions.every(({ observedGeneration }) => observedGeneration === 7));
  });

  it("leaves others' conditions alone, and takes its own away when they don't apply", () => {
    const before: Condition[] = [
      { type: 'Theirs', status: 'True', reason: 'Because' },
      { type: 'Finished', status: 'True', reason: 'PodFailed' },
    ];
    const { conditions = [] } = statusOf({ sandbox: sandbox({}, before), pod: readyPod });
    assert.deepEqual(
      conditions.map(({ type }) => type),
      ['Suspended', 'PodScheduled', 'Ready', 'Theirs'],
    );
  });
});
