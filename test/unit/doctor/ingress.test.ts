import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { judgeIngress, restrictsIngress } from '../../../src/cli/doctor/ingress.ts';
import type { NetworkPolicy, PodSpec } from '../../../src/kubernetes/index.ts';
import { policy } from './facts.ts';

const ROUTER = {
  namespace: 'agent-sandbox-system',
  namespaceLabels: { 'kubernetes.io/metadata.name': 'agent-sandbox-system' },
  labels: { app: 'sandbox-router' },
  address: '10.4.0.9',
};
const TARGET: PodSpec = {
  containers: [{ name: 'agent', image: 'agent', ports: [{ name: 'http', containerPort: 8888 }] }],
};
const namespaceSelector = { matchLabels: ROUTER.namespaceLabels };
const podSelector = { matchLabels: ROUTER.labels };
type Rule = NonNullable<NetworkPolicy['spec']['ingress']>[number];

describe('a NetworkPolicy and the router', () => {
  const cases: [string, Rule[] | undefined, 'in' | 'port' | 'out'][] = [
    ['no rules keep everybody out', undefined, 'out'],
    ['an empty rule lets everybody in', [{}], 'in'],
    ['namespace and pod labels both match', [{ from: [{ namespaceSelector, podSelector }] }], 'in'],
    ['one peer of several is enough', [{ from: [{ podSelector }, { namespaceSelector }] }], 'in'],
    ['pods without a namespace selector are of the own namespace', [{ from: [{ podSelector }] }], 'out'],
    [
      'the labels of upstream manifests do not match',
      [{ from: [{ namespaceSelector, podSelector: { matchLabels: { app: 'other' } } }] }],
      'out',
    ],
    ['an address block holds the router', [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }], 'in'],
    ['an exception leaves it out', [{ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.4.0.0/16'] } }] }], 'out'],
    ['the port by number', [{ ports: [{ port: 8888 }] }], 'in'],
    ['the port by name', [{ ports: [{ port: 'http' }] }], 'in'],
    ['a name that no container has', [{ ports: [{ port: 'grpc' }] }], 'port'],
    ['a range with it', [{ ports: [{ port: 8000, endPort: 9000 }] }], 'in'],
    ['a range without it', [{ ports: [{ port: 9000, endPort: 9100 }] }], 'port'],
    ['UDP only', [{ ports: [{ protocol: 'UDP', port: 8888 }] }], 'port'],
    ['every TCP port', [{ ports: [{ protocol: 'TCP' }] }], 'in'],
    ['rules add up', [{ ports: [{ port: 1 }] }, { ports: [{ port: 8888 }] }], 'in'],
  ];
  for (const [name, ingress, expected] of cases)
    test(name, () => {
      const spec = ingress === undefined ? {} : { ingress };
      assert.equal(judgeIngress(policy(spec), ROUTER, 8888, TARGET), expected);
    });

  test('decides who comes in unless it names other types only', () => {
    assert.equal(restrictsIngress(policy({})), true);
    assert.equal(restrictsIngress(policy({ policyTypes: ['Ingress', 'Egress'] })), true);
    assert.equal(restrictsIngress(policy({ policyTypes: ['Egress'] })), false);
  });
});
