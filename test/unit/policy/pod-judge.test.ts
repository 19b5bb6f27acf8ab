import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { refusedByClass } from '../../../src/router/policy/classes.ts';
import type { EgressPolicy } from '../../../src/router/policy/egress.ts';
import { createPodJudge } from '../../../src/router/policy/pod-judge.ts';
import { createPolicy, type PolicySettings } from '../../../src/router/policy/policy.ts';
import { implicitTenant, type Tenant } from '../../../src/router/policy/tenants.ts';
import type { PodRecord, SandboxRecord } from '../../../src/router/table/index.ts';

const settings: PolicySettings = {
  tenants: undefined,
  egressRequired: true,
  egressVerify: 'enforce',
  egressClasses: new Map(),
  runtimeRequire: 'named',
  runtimeClasses: ['gvisor'],
};
const denial: EgressPolicy = {
  name: 'deny',
  namespace: 'a',
  podSelector: { matchLabels: { egress: 'none' } },
  policyTypes: ['Egress'],
};

function podOf(uid: string, more: Partial<PodRecord> = {}): PodRecord {
  return { uid, namespace: 'a', runtimeClass: 'gvisor', egressClass: 'none', faults: 0, ...more } as PodRecord;
}

function judgeWith(changes: Partial<PolicySettings> = {}, followsPolicies = true) {
  const pods = new Map<string, PodRecord>();
  const told: string[] = [];
  const policy = createPolicy({ ...settings, ...changes });
  const judge = createPodJudge({
    policy,
    table: { findPod: (uid) => pods.get(uid), pods: () => pods.values() },
    followsPolicies,
    unenforced: (namespace, egressClass, reason) => told.push(`${namespace} ${egressClass}: ${reason}`),
  });
  const add = (pod: PodRecord, labels = { egress: 'none' }) => {
    judge.judge(pod, labels);
    pods.set(pod.uid, pod);
    return pod;
  };
  const list = (...policies: EgressPolicy[]) => {
    judge.beginReplace();
    for (const each of policies) judge.upsertPolicy(each);
    judge.endReplace();
    judge.settle();
  };
  return { judge, policy, told, add, list, pods };
}

const UNENFORCED = 8;

describe('the judge of pods', () => {
  it('trusts no class before it knows the policies, and complains of none', () => {
    const { add, list, told, judge } = judgeWith();
    const pod = add(podOf('p'));
    assert.equal(pod.faults, UNENFORCED);
    assert.match(judge.reasonOf('p') ?? '', /not known yet/);
    assert.deepEqual(told, []);
    list(denial);
    assert.equal(pod.faults, 0);
    assert.equal(judge.unenforcedCount(), 0);
  });

  it('follows policies as they come, change and go', () => {
    const { add, list, judge } = judgeWith();
    list();
    const pod = add(podOf('p'));
    assert.equal(pod.faults, UNENFORCED);
    const apply = (change: () => void) => {
      change();
      judge.settle();
      return pod.faults;
    };
    assert.equal(
      apply(() => judge.upsertPolicy(denial)),
      0,
    );
    assert.equal(
      apply(() => judge.upsertPolicy({ ...denial, egress: [{}] })),
      UNENFORCED,
    );
    assert.equal(
      apply(() => judge.upsertPolicy({ ...denial, namespace: 'b' })),
      UNENFORCED,
    );
    assert.equal(
      apply(() => judge.upsertPolicy(denial)),
      0,
    );
    assert.equal(
      apply(() => judge.deletePolicy('a', 'deny')),
      UNENFORCED,
    );
    assert.equal(
      apply(() => judge.upsertPolicy(denial)),
      0,
    );
    list();
    assert.equal(pod.faults, UNENFORCED, 'a list without it takes it away');
  });

  it('warns once for each reason, and lets through', () => {
    const { add, list, told, judge } = judgeWith({ egressVerify: 'warn' });
    list();
    for (const uid of ['p', 'q', 'r']) assert.equal(add(podOf(uid)).faults, 0);
    assert.equal(told.length, 1);
    assert.equal(judge.unenforcedCount(), 3);
    judge.forget('a', 'q');
    assert.equal(judge.unenforcedCount(), 2);
  });

  it('forgets pods that went unseen', () => {
    const { add, list, judge, pods } = judgeWith();
    list();
    add(podOf('p'));
    pods.clear();
    list(denial);
    assert.equal(judge.unenforcedCount(), 0);
    assert.equal(judge.reasonOf('p'), undefined);
  });

  it('judges again when the configuration changes, also where it follows no policies', () => {
    const { add, policy } = judgeWith({ egressVerify: 'off' }, false);
    const pod = add(podOf('p', { runtimeClass: 'kata' }));
    assert.notEqual(pod.faults, 0);
    policy.replace({ ...settings, egressVerify: 'off', runtimeClasses: ['kata'] });
    assert.equal(pod.faults, 0);
  });
});

describe('a tenant is refused', () => {
  const open = implicitTenant('a');
  const narrow: Tenant = { ...open, egressClasses: new Set(['none']), runtimeClasses: new Set(['kata']) };
  const always = { runtimeRequire: 'always' } as const;
  const cases: [
    what: string,
    tenant: Tenant,
    pod: Partial<PodRecord>,
    changes: Partial<PolicySettings>,
    code?: string,
  ][] = [
    ['nothing that is as it should be', open, {}, {}],
    ['a RuntimeClass that is not allowed', open, { runtimeClass: 'runc' }, {}, 'runtime_forbidden'],
    ['no RuntimeClass that nobody asks for', open, { runtimeClass: 'runc' }, { runtimeRequire: 'off' }],
    ['not for naming none', open, { runtimeClass: '' }, {}],
    ['for naming none where one must', open, { runtimeClass: '' }, always, 'runtime_forbidden'],
    ['not what its own list names', narrow, { runtimeClass: 'kata' }, {}],
    ['what its own list leaves out', narrow, {}, {}, 'runtime_forbidden'],
    ['for naming none, whatever its list says', narrow, { runtimeClass: '' }, always, 'runtime_forbidden'],
    ['a pod without class', open, { egressClass: '' }, {}, 'egress_unlabelled'],
    ['not a pod without class where none is needed', open, { egressClass: '' }, { egressRequired: false }],
    [
      'a pod without class if it may reach some only',
      narrow,
      { runtimeClass: 'kata', egressClass: '' },
      { egressRequired: false },
      'egress_unlabelled',
    ],
    ['a class that is not its own', narrow, { runtimeClass: 'kata', egressClass: 'internet' }, {}, 'egress_forbidden'],
    [
      'a class with the name of something else',
      narrow,
      { runtimeClass: 'kata', egressClass: 'constructor' },
      {},
      'egress_forbidden',
    ],
  ];
  for (const [what, tenant, pod, changes, code] of cases)
    it(what, () => {
      const { add, policy } = judgeWith({ egressVerify: 'off', ...changes }, false);
      const record = add(podOf('p', pod));
      const sandbox = { ...record, name: 's' } as unknown as SandboxRecord;
      const judged = (of: PodRecord | undefined) =>
        refusedByClass(tenant, sandbox, of, policy.settings(), () => undefined)?.code;
      assert.equal(judged(record), code);
      assert.equal(judged(undefined), code, 'before it has a pod');
    });
});
