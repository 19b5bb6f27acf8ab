import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runCheck } from '../../../src/cli/doctor/check.ts';
import { egressPolicy } from '../../../src/cli/doctor/checks/egress-policy.ts';
import { judgeRights } from '../../../src/cli/doctor/checks/rbac.ts';
import { judgeRouterIngress } from '../../../src/cli/doctor/checks/router-ingress.ts';
import { judgeUse } from '../../../src/cli/doctor/checks/runtime-class.ts';
import { judgeSnapshots } from '../../../src/cli/doctor/checks/snapshots.ts';
import { judgeVersions } from '../../../src/cli/doctor/checks/versions.ts';
import { judgePools } from '../../../src/cli/doctor/checks/warm-pools.ts';
import type { Verdict } from '../../../src/cli/doctor/finding.ts';
import { CHECKS, printReport, type Report } from '../../../src/cli/doctor/index.ts';
import { rightsOfRouter } from '../../../src/cli/doctor/rights.ts';
import { EGRESS_LABEL, type SandboxWarmPool, SNAPSHOT_ANNOTATION } from '../../../src/kubernetes/index.ts';
import { claim, factsWith, podOf, policy, sandbox, snapshot, withUnread } from './facts.ts';

const severities = (verdicts: Verdict[]) => verdicts.map(({ severity }) => severity);

describe('snapshots of paused sandboxes', () => {
  const paused = sandbox('box', { operatingMode: 'Suspended' });
  const cover = {
    apiVersion: 'podsnapshot.gke.io/v1',
    kind: 'PodSnapshotPolicy',
    metadata: { namespace: 'team', name: 'all' },
    spec: { storageConfigName: 'bucket', selector: {} },
  };
  const bucket = {
    apiVersion: 'podsnapshot.gke.io/v1',
    kind: 'PodSnapshotStorageConfig',
    metadata: { name: 'bucket' },
  };
  const base = { sandboxes: [paused], snapshotPolicies: [cover], snapshotStorageConfigs: [bucket] };

  test('the newest is Ready', () => {
    const snapshots = [snapshot('old', 'box', 1, false), snapshot('new', 'box', 2, true)];
    assert.deepEqual(severities(judgeSnapshots(factsWith({ ...base, snapshots }))), ['ok']);
  });

  test('only an older one is Ready', () => {
    const snapshots = [snapshot('new', 'box', 2, false), snapshot('old', 'box', 1, true)];
    const [verdict] = judgeSnapshots(factsWith({ ...base, snapshots }));
    assert.equal(verdict?.severity, 'warning');
    assert.match(verdict?.message ?? '', /wakes from one of 2026-01-01T00:00:01/);
    assert.match(verdict?.fix ?? '', /PodSnapshot team\/new/);
  });

  test('those of others do not count', () => {
    const snapshots = [snapshot('foreign', 'other', 1, true)];
    assert.deepEqual(severities(judgeSnapshots(factsWith({ ...base, snapshots }))), ['failure']);
  });

  test("the engine's annotation counts", () => {
    const kept = sandbox('box', { operatingMode: 'Suspended' }, { annotations: { [SNAPSHOT_ANNOTATION]: 'x' } });
    assert.deepEqual(severities(judgeSnapshots(factsWith({ ...base, sandboxes: [kept] }))), ['ok']);
  });

  test('replicas 0 of v1alpha1 is a pause', () => {
    const old = sandbox('box', { replicas: 0 } as never);
    assert.deepEqual(severities(judgeSnapshots(factsWith({ ...base, sandboxes: [old] }))), ['failure']);
  });

  test('nothing is said of what may not be read', () => {
    const facts = withUnread(factsWith(base), 'snapshots', 'forbidden');
    assert.deepEqual(severities(judgeSnapshots(facts)), ['skipped']);
  });
});

describe('warm pools', () => {
  const pool: SandboxWarmPool = {
    apiVersion: 'extensions.agents.x-k8s.io/v1beta1',
    kind: 'SandboxWarmPool',
    metadata: { namespace: 'team', name: 'pool' },
    spec: { replicas: 1, sandboxTemplateRef: { name: 'template' } },
    status: { readyReplicas: 1 },
  };
  const template = {
    apiVersion: 'extensions.agents.x-k8s.io/v1beta1',
    kind: 'SandboxTemplate',
    metadata: { namespace: 'team', name: 'template' },
    spec: { podTemplate: { spec: { containers: [] } } },
  };
  const launched = (types: string[], env: { name: string; value: string }[] = []) => ({
    pools: [pool],
    templates: [template],
    sandboxes: types.map((type, index) =>
      sandbox(`s${index}`, {}, { labels: { 'agents.x-k8s.io/launch-type': type } }),
    ),
    claims: types.map((type, index) => claim(`c${index}`, `s${index}`, type === 'cold' ? env : [])),
  });

  test('a few cold starts say nothing', () => {
    assert.deepEqual(severities(judgePools(factsWith(launched(['cold', 'cold'])))), ['ok']);
  });

  test('four of five are enough', () => {
    assert.deepEqual(severities(judgePools(factsWith(launched(['warm', 'warm', 'warm', 'warm', 'cold'])))), ['ok']);
  });

  test('claims with variables of their own are told from a pool that is too small', () => {
    const lists = launched(['warm', 'warm', 'warm', 'cold', 'cold'], [{ name: 'A', value: 'b' }]);
    const [verdict] = judgePools(factsWith(lists));
    assert.equal(verdict?.severity, 'warning');
    assert.match(verdict?.message ?? '', /2 of its claims carry env/);
  });

  test('a template of the same name in another namespace is another', () => {
    const foreign = { ...template, metadata: { namespace: 'other', name: 'template' } };
    assert.deepEqual(severities(judgePools(factsWith({ pools: [pool], templates: [foreign] }))), ['failure']);
  });

  test('claims of v1alpha1, which name no pool, are passed over', () => {
    const old = { ...claim('c', 's'), spec: { sandboxTemplateRef: { name: 'template' } } as never };
    assert.deepEqual(severities(judgePools(factsWith({ claims: [old] }))), ['ok']);
  });
});

describe('network policies', () => {
  const box = sandbox('box');

  test('hold a class of the operator, or one that is named like a property of every object, to the least', () => {
    for (const egressClass of ['partners', 'constructor']) {
      const pods = [podOf(box, { [EGRESS_LABEL]: egressClass })];
      const judge = (egress: object[]) =>
        severities(
          runCheck(
            egressPolicy,
            factsWith({ sandboxes: [box], pods, policies: [policy({ policyTypes: ['Egress'], egress })] }),
          ),
        );
      assert.deepEqual(judge([{ to: [{ ipBlock: { cidr: '34.0.0.0/8' } }] }]), ['ok']);
      assert.deepEqual(judge([{ to: [{ ipBlock: { cidr: '169.254.169.254/32' } }] }]), ['failure']);
      assert.deepEqual(judge([{}]), ['failure']);
    }
  });

  test('must let every router pod in', () => {
    const router = (name: string, labels: Record<string, string>) => ({
      ...podOf(sandbox(name)),
      metadata: { namespace: 'agent-sandbox-system', name, labels },
    });
    const from = [{ namespaceSelector: {}, podSelector: { matchLabels: { track: 'stable' } } }];
    const facts = factsWith({
      sandboxes: [box],
      pods: [podOf(box)],
      policies: [policy({ ingress: [{ from }] })],
      routerPods: [
        router('a', { app: 'sandbox-router', track: 'stable' }),
        router('b', { app: 'sandbox-router', track: 'next' }),
      ],
    });
    const [verdict] = judgeRouterIngress(facts);
    assert.equal(verdict?.severity, 'failure');
    assert.match(verdict?.message ?? '', /track: next/);
  });

  test('are not judged on the engine, which decides by itself', () => {
    const facts = factsWith({ sandboxes: [box] }, { server: { version: 'v1.34.0-sandbox-router', isEngine: true } });
    assert.deepEqual(severities(runCheck(egressPolicy, facts)), ['skipped']);
  });
});

test('a fault of a Sandbox and its Pod is said once, with both in the fix', () => {
  const box = sandbox('box');
  const verdicts = judgeUse(factsWith({ sandboxes: [box], pods: [podOf(box)] }));
  assert.equal(verdicts.length, 1);
  assert.match(verdicts[0]?.fix ?? '', /in Sandbox team\/box, then delete Pod team\/box/);
});

test('pods that end, and sandboxes that ended, are passed over', () => {
  const box = sandbox('box');
  const over = { ...box, status: { conditions: [{ type: 'Finished', status: 'True' as const }] } };
  const pod = podOf(box);
  const done = { ...pod, status: { phase: 'Succeeded' as const } };
  const leaving = { ...pod, metadata: { ...pod.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };
  assert.deepEqual(judgeUse(factsWith({ sandboxes: [over], pods: [done, leaving] })), []);
});

test('verbs that are missing on one resource are one finding', () => {
  const asked = rightsOfRouter('system', true);
  const answered = (of: string | undefined, allowed: (resource: string) => boolean | undefined) =>
    judgeRights(
      factsWith(
        {},
        {
          rights: {
            of,
            answers: asked.map((right) => ({ right, allowed: allowed(`${right.group}/${right.resource}`) })),
          },
          namespace: 'team',
        },
      ),
    );
  const [verdict, ...others] = answered('ServiceAccount system/router', (resource) => resource !== '/pods');
  assert.equal(others.length, 0);
  assert.equal(verdict?.severity, 'failure');
  assert.match(verdict?.message ?? '', /^ServiceAccount system\/router may not list or watch pods in namespace team/);
  assert.match(verdict?.fix ?? '', /^Bind ClusterRole sandbox-router-read to ServiceAccount system\/router/);
  assert.deepEqual(severities(answered(undefined, () => undefined)), ['skipped']);
  assert.match(answered(undefined, () => true)[0]?.message ?? '', /could not be asked for/);
});

test('each group of the API is judged by itself', () => {
  const served = { sandboxes: ['v1beta1'], extensions: ['v1alpha1'], podSnapshots: [], gkeSandboxes: ['v1'] };
  const [verdict, ...others] = judgeVersions(factsWith({}, { served }));
  assert.deepEqual([verdict?.severity, verdict?.object?.name, others], ['warning', 'extensions.agents.x-k8s.io', []]);
  const [fine] = judgeVersions(factsWith({}, { served: { ...served, extensions: [] } }));
  assert.match(fine?.message ?? '', /extensions\.agents\.x-k8s\.io not at all; .*sandbox\.gke\.io v1\./);
  assert.deepEqual(severities(judgeVersions(factsWith({}, { served: undefined }))), ['skipped']);
});

test('what a hundred pods have in common is printed once', () => {
  const object = (name: string) => ({ kind: 'Pod', namespace: 'team', name });
  const findings = Array.from({ length: 100 }, (_, index) => ({
    check: 'egress-label' as const,
    severity: 'failure' as const,
    object: object(`p${index}`),
    message: 'No label.',
    fix: `Label p${index}.`,
  }));
  const checks = CHECKS.filter(({ id }) => id === 'egress-label').map(({ id, title }) => ({
    id,
    title,
    severity: 'failure' as const,
  }));
  const report: Report = { checks, findings, summary: { ok: 0, warning: 0, failure: 100, skipped: 0 } };
  const lines = printReport(report, 'https://cluster').split('\n');
  assert.equal(lines.length, 6);
  assert.match(lines[1] ?? '', /^ {2}failure {3}Pod team\/p0: No label\.$/);
  assert.equal(lines[2], `${' '.repeat(12)}fix: Label p0.`);
  assert.match(lines[3] ?? '', /the same: Pod team\/p1, .*Pod team\/p10, and 89 more$/);
  assert.equal(lines[5], '1 check of https://cluster: 100 failures, 0 warnings, 0 skipped, 0 ok.');
});
