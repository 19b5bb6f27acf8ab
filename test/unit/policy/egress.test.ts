import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  BUILT_IN_PROMISES,
  type EgressPeer,
  type EgressPolicy,
  type EgressPromise,
  verifyEgress,
} from '../../../src/router/policy/egress.ts';

const pod = { namespace: 'default', labels: { app: 'box', tier: 'agent' } };

function policy(to: EgressPeer[] | undefined | null, more: Partial<EgressPolicy> = {}): EgressPolicy {
  const egress = to === null ? [] : [to === undefined ? {} : { to }];
  return {
    name: 'p',
    namespace: 'default',
    podSelector: { matchLabels: { app: 'box' } },
    policyTypes: ['Egress'],
    egress,
    ...more,
  };
}

const except = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16'];
const internet = { ipBlock: { cidr: '0.0.0.0/0', except } };
const internet6 = { ipBlock: { cidr: '::/0', except: ['fc00::/7', 'fe80::/10'] } };

describe('an egress class is enforced', () => {
  const cases: [name: string, className: string, policies: EgressPolicy[], enforced: true | RegExp][] = [
    ['none: denied by a policy without rules', 'none', [policy(null)], true],
    ['none: no policy at all', 'none', [], /no NetworkPolicy/],
    [
      'none: a policy for other pods',
      'none',
      [policy(null, { podSelector: { matchLabels: { app: 'other' } } })],
      /no NetworkPolicy/,
    ],
    ['none: a policy of another namespace', 'none', [policy(null, { namespace: 'other' })], /no NetworkPolicy/],
    [
      'none: a policy that restricts ingress alone',
      'none',
      [policy(null, { policyTypes: ['Ingress'] })],
      /no NetworkPolicy/,
    ],
    ['none: no types and no rules means ingress alone', 'none', [withoutTypes(policy(null))], /no NetworkPolicy/],
    ['none: selects everything', 'none', [policy(null, { podSelector: {} })], true],
    [
      'none: one policy denies, another allows',
      'none',
      [policy(null), policy([{ podSelector: {} }])],
      /allows pods of the cluster/,
    ],
    ['none: a rule without destination', 'none', [policy(undefined)], /allows all of them/],
    [
      'none: a single address',
      'none',
      [policy([{ ipBlock: { cidr: '203.0.113.7/32' } }])],
      /allows 203\.0\.113\.7\/32/,
    ],
    ['restricted: named pods', 'restricted', [policy([{ podSelector: { matchLabels: { app: 'db' } } }])], true],
    ['restricted: a private block', 'restricted', [policy([{ ipBlock: { cidr: '10.1.2.0/24' } }])], true],
    ['restricted: the internet', 'restricted', [policy([internet])], /which the class does not/],
    [
      'restricted: metadata',
      'restricted',
      [policy([{ ipBlock: { cidr: '169.254.169.254/32' } }])],
      /which the class does not/,
    ],
    ['internet: upstream’s default policy', 'internet', [policy([internet, internet6])], true],
    [
      'internet: without an exception',
      'internet',
      [policy([{ ipBlock: { cidr: '0.0.0.0/0', except: except.slice(1) } }])],
      /exception 10\.0\.0\.0\/8/,
    ],
    [
      'internet: an exception too narrow',
      'internet',
      [policy([{ ipBlock: { cidr: '0.0.0.0/0', except: [...except.slice(1), '10.0.0.0/9'] } }])],
      /10\.0\.0\.0\/8/,
    ],
    ['internet: IPv6 without exceptions', 'internet', [policy([internet, { ipBlock: { cidr: '::/0' } }])], /fc00::\/7/],
    ['internet: pods', 'internet', [policy([internet, { podSelector: {} }])], /pods of the cluster/],
    ['internet: a block that is none', 'internet', [policy([{ ipBlock: { cidr: '0.0.0.0/33' } }])], /no address block/],
    ['less than the class allows', 'internet', [policy(null)], true],
    [
      'expressions select',
      'none',
      [policy(null, { podSelector: { matchExpressions: [{ key: 'tier', operator: 'In', values: ['agent'] }] } })],
      true,
    ],
    [
      'expressions leave out',
      'none',
      [policy(null, { podSelector: { matchExpressions: [{ key: 'tier', operator: 'DoesNotExist' }] } })],
      /no NetworkPolicy/,
    ],
  ];
  for (const [name, className, policies, expected] of cases) {
    it(name, () => {
      const verdict = verifyEgress(BUILT_IN_PROMISES[className] as EgressPromise, pod, policies);
      if (expected === true) assert.deepEqual(verdict, { enforced: true });
      else assert.match(verdict.enforced ? 'enforced' : verdict.reason, expected);
    });
  }
});

function withoutTypes({ policyTypes: _, ...rest }: EgressPolicy): EgressPolicy {
  return rest;
}
