import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { limitsCondition, limitsOf } from '../../../src/engine/controllers/pod/limits.ts';
import type { Container, Pod } from '../../../src/kubernetes/index.ts';

const container = (
  name: string,
  limits?: Record<string, string | number>,
  more: Partial<Container> = {},
): Container => ({
  name,
  image: 'i',
  ...(limits === undefined ? {} : { resources: { limits: limits as Record<string, string> } }),
  ...more,
});
const pod = (containers: Container[], more: Partial<Pod['spec']> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'n', uid: 'u' },
  spec: { containers, ...more },
});
const sidecar = { restartPolicy: 'Always' } as const;

describe('limits of a Pod', () => {
  it('there are none where no container has any', () => {
    assert.equal(limitsOf(pod([container('one'), container('two', {})])), undefined);
    assert.equal(limitsCondition(pod([container('one')]), {}), undefined);
  });

  it('are those of its containers together, in any of the ways in which amounts are written', () => {
    const of = pod([container('one', { memory: '64Mi', cpu: '250m' }), container('two', { memory: '1e6', cpu: 2 })]);
    assert.deepEqual(limitsOf(of), { memoryBytes: 64 * 2 ** 20 + 1_000_000, cpuMillicores: 2250 });
  });

  it('one container without a bound leaves its Pod without that bound', () => {
    const of = pod([container('one', { memory: '64Mi', cpu: '1' }), container('two', { cpu: '1' })]);
    assert.deepEqual(limitsOf(of), { cpuMillicores: 2000 });
    const { status, reason, message } = limitsCondition(of, {}) ?? {};
    assert.deepEqual([status, reason], ['False', 'NotOfAllContainers']);
    assert.match(message ?? '', /memory: .* container two has none/);
  });

  it('init containers run before the others, sidecars beside all that come after them', () => {
    const main = [container('main', { cpu: '1' })];
    const initContainers = [container('side', { cpu: '500m' }, sidecar), container('big', { cpu: '3' })];
    assert.equal(limitsOf(pod(main, { initContainers }))?.cpuMillicores, 3500);
    const small = [container('small', { cpu: '100m' }), container('side', { cpu: '500m' }, sidecar)];
    assert.equal(limitsOf(pod(main, { initContainers: small }))?.cpuMillicores, 1500);
  });

  it('those of the Pod itself come first', () => {
    const of = pod([container('one')], { resources: { limits: { memory: '1Gi' } } });
    assert.deepEqual(limitsOf(of), { memoryBytes: 2 ** 30 });
    assert.equal(limitsCondition(of, {})?.status, 'True');
  });

  for (const memory of ['64 MB', '1e3Mi', '-64Mi', '+64Mi'])
    it(`an amount that is none is refused: ${memory}`, () => {
      const of = pod([container('one', { memory })]);
      assert.throws(() => limitsOf(of), { message: `"${memory}" is no amount such as 64Mi` });
      assert.equal(limitsCondition(of, {})?.reason, 'InvalidQuantity');
    });

  it('what the machine can not bound is said, with the cause', () => {
    const of = pod([container('one', { memory: '64Mi', cpu: '1' })]);
    assert.equal(limitsCondition(of, {})?.status, 'True');
    assert.deepEqual(limitsCondition(of, { memory: 'read-only file system', pids: 'too' }), {
      type: 'sandbox-router/LimitsEnforced',
      status: 'False',
      reason: 'NoCgroups',
      message: 'resources.limits are not enforced: memory: read-only file system',
    });
    assert.equal(limitsCondition(pod([container('one', { 'nvidia.com/gpu': 1 })]), {})?.reason, 'NotSupported');
  });
});
