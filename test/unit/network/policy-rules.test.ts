import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type PolicyPod, rulesOf } from '../../../src/engine/controllers/network-policy/resolve.ts';
import { addSandbox } from '../../../src/engine/network/firewall/ruleset.ts';
import type { NetworkPolicy } from '../../../src/kubernetes/index.ts';

const GATEWAY = '10.64.0.1';
const pod = (address: string, labels: Record<string, string>, namespace = 'default'): PolicyPod => ({
  namespace,
  labels,
  address,
  ports: [{ name: 'web', containerPort: 8080 }],
});
const box = pod('10.64.0.2', { app: 'box' });
const peer = pod('10.64.0.3', { app: 'peer' });
const far = pod('10.64.0.4', { app: 'peer' }, 'far');

const policy = (spec: Partial<NetworkPolicy['spec']>, namespace = 'default'): NetworkPolicy => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'p', namespace },
  spec: { podSelector: { matchLabels: { app: 'box' } }, ...spec },
});
const rules = (...policies: NetworkPolicy[]) =>
  rulesOf(
    box,
    [],
    { policies, pods: [box, peer, far], namespaceLabels: (name) => ({ 'kubernetes.io/metadata.name': name }) },
    GATEWAY,
  );
/** What nftables is told about leaving, without the words that all rules share. */
const leaving = (...policies: NetworkPolicy[]) => linesOf('egress', rules(...policies));
const entering = (...policies: NetworkPolicy[]) => linesOf('ingress', rules(...policies));
function linesOf(chain: string, found: ReturnType<typeof rules>): string[] {
  const options = { engineTag: 'abcd', gateway: GATEWAY, subnet: '10.64.0.0/20', dnsPort: 1053 };
  const prefix = `add rule inet sandbox_router_abcd ${chain}_0123456789 `;
  return addSandbox(options, '0123456789', { address: box.address, rules: found })
    .filter((line) => line.startsWith(prefix))
    .map((line) => line.slice(prefix.length).replace(/ ?(goto may_leave|accept)$/, ''));
}
const egress = (...entries: NonNullable<NetworkPolicy['spec']['egress']>) =>
  policy({ policyTypes: ['Egress'], egress: entries });
const ingress = (...entries: NonNullable<NetworkPolicy['spec']['ingress']>) =>
  policy({ policyTypes: ['Ingress'], ingress: entries });

describe('what a NetworkPolicy lets out', () => {
  const outside = 'oifname != "sabcd*"';
  const inside = 'oifname "sabcd*"';
  const cases: [name: string, policies: NetworkPolicy[], lines: string[]][] = [
    ['no policy', [], []],
    ['a policy of another namespace', [policy({ policyTypes: ['Egress'], egress: [{}] }, 'far')], []],
    ['a policy for other pods', [policy({ podSelector: { matchLabels: { app: 'x' } }, egress: [{}] })], []],
    ['a policy for Ingress alone', [policy({ policyTypes: ['Ingress'], egress: [{}] })], []],
    ['egress rules without policyTypes', [policy({ egress: [{}] })], ['']],
    ['an empty list of peers', [egress({ to: [] })], ['']],
    ['an empty peer, which means nobody', [egress({ to: [{}] })], []],
    ['a block', [egress({ to: [{ ipBlock: { cidr: '192.0.2.7/24' } }] })], [`${outside} ip daddr 192.0.2.0/24`]],
    ['a block of IPv6', [egress({ to: [{ ipBlock: { cidr: '2001:db8::/32' } }] })], []],
    [
      'exceptions that overlap',
      [egress({ to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8', '10.1.0.0/16', 'fc00::/7'] } }] })],
      [`${outside} ip daddr != { 10.0.0.0/8 }`],
    ],
    [
      'an exception that is no block closes the whole peer',
      [egress({ to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/99'] } }] })],
      [],
    ],
    [
      'pods',
      [egress({ to: [{ podSelector: { matchLabels: { app: 'peer' } } }] })],
      [`${inside} ip daddr { 10.64.0.3 }`],
    ],
    [
      'pods of every namespace',
      [egress({ to: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: 'peer' } } }] })],
      [`${inside} ip daddr { 10.64.0.3, 10.64.0.4 }`],
    ],
    ['pods that are not there', [egress({ to: [{ podSelector: { matchLabels: { app: 'x' } } }] })], []],
    [
      'ports, merged where they overlap',
      [
        egress({
          ports: [{ port: 80 }, { port: 90, endPort: 100 }, { port: 95, endPort: 110 }, { protocol: 'UDP', port: 53 }],
        }),
      ],
      ['tcp dport { 80, 90-110 }', 'udp dport { 53 }'],
    ],
    [
      'a protocol swallows its ports',
      [egress({ ports: [{ protocol: 'SCTP' }, { protocol: 'SCTP', port: 9 }] })],
      ['meta l4proto sctp'],
    ],
    [
      'a named port is one of the pods at the other end',
      [egress({ to: [{ podSelector: { matchLabels: { app: 'peer' } } }], ports: [{ port: 'web' }] })],
      [`${inside} ip daddr { 10.64.0.3 } tcp dport { 8080 }`],
    ],
    [
      'a named port means nothing outside',
      [egress({ to: [{ ipBlock: { cidr: '192.0.2.0/24' } }], ports: [{ port: 'web' }] })],
      [],
    ],
    ['a named port of another protocol', [egress({ ports: [{ port: 'web', protocol: 'UDP' }] })], []],
    [
      'policies add up',
      [egress({ ports: [{ port: 1 }] }), egress(), egress({ ports: [{ port: 2 }] })],
      ['tcp dport { 1 }', 'tcp dport { 2 }'],
    ],
  ];
  for (const [name, policies, lines] of cases)
    it(name, () => {
      assert.deepEqual(leaving(...policies), lines);
    });
});

describe('what a NetworkPolicy lets in', () => {
  const cases: [name: string, policies: NetworkPolicy[], lines: string[]][] = [
    ['no policy: sandboxes, not the outside', [], ['iifname "sabcd*"']],
    ['a policy without rules: nobody', [ingress()], []],
    ['anybody', [ingress({})], ['']],
    ['a block: the outside alone', [ingress({ from: [{ ipBlock: { cidr: '0.0.0.0/0' } }] })], ['iifname != "sabcd*"']],
    [
      'pods, on a named port of its own',
      [ingress({ from: [{ podSelector: { matchLabels: { app: 'peer' } } }], ports: [{ port: 'web' }] })],
      ['iifname "sabcd*" ip saddr { 10.64.0.3 } tcp dport { 8080 }'],
    ],
    ['a named port that it has not: nobody', [ingress({ ports: [{ port: 'grpc' }] })], []],
  ];
  for (const [name, policies, lines] of cases)
    it(name, () => {
      assert.deepEqual(entering(...policies), lines);
    });
});

describe('whether a pod may resolve any name', () => {
  const dnsPod = {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
    podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
  };
  const cases: [name: string, policies: NetworkPolicy[], may: boolean][] = [
    ['no policy', [], false],
    ['cluster DNS, UDP 53', [egress({ to: [dnsPod], ports: [{ protocol: 'UDP', port: 53 }] })], true],
    ['cluster DNS, every port', [egress({ to: [dnsPod] })], true],
    [
      'cluster DNS, by the name of its port',
      [egress({ to: [dnsPod], ports: [{ protocol: 'UDP', port: 'dns' }] })],
      true,
    ],
    ['cluster DNS, TCP 53 alone', [egress({ to: [dnsPod], ports: [{ port: 53 }] })], false],
    ['everything', [egress({})], true],
    ['port 443 everywhere', [egress({ ports: [{ port: 443 }] })], false],
    [
      'the internet without private blocks',
      [egress({ to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8'] } }] })],
      false,
    ],
    ['pods of the own namespace', [egress({ to: [{ podSelector: {} }] })], false],
  ];
  for (const [name, policies, may] of cases)
    it(`${name} → ${may}`, () => {
      assert.equal(rules(...policies).resolvesAnyName, may);
    });
});
