import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sandboxesOn } from '../../../src/cli/doctor/capacity.ts';
import { describeResources, requestsOf } from '../../../src/cli/doctor/quantity.ts';
import { type Container, type Node, parseQuantity } from '../../../src/kubernetes/index.ts';

const container = (cpu: string, memory: string, more: Partial<Container> = {}): Container => ({
  name: 'c',
  image: 'i',
  resources: { requests: { cpu, memory } },
  ...more,
});
const MIB = 2 ** 20;

describe('quantities', () => {
  const cases: [string | undefined, number | undefined][] = [
    ['2', 2],
    ['250m', 0.25],
    ['0.5', 0.5],
    ['.5', 0.5],
    ['1Gi', 2 ** 30],
    ['512Mi', 512 * MIB],
    ['1G', 1e9],
    ['128e6', 128e6],
    ['100n', 1e-7],
    ['1e3Mi', undefined],
    ['1Zi', undefined],
    ['', undefined],
    ['many', undefined],
    [undefined, undefined],
  ];
  for (const [text, expected] of cases)
    test(`${text} is ${expected}`, () => {
      const value = parseQuantity(text);
      if (expected === undefined) assert.equal(value, undefined);
      else assert.ok(Math.abs((value ?? Number.NaN) - expected) <= expected * 1e-9);
    });
});

describe('requests of a pod', () => {
  test('are those of its containers and sidecars, and what the runtime needs', () => {
    const sidecar = container('100m', '64Mi', { restartPolicy: 'Always' });
    const runtime = {
      apiVersion: 'node.k8s.io/v1',
      kind: 'RuntimeClass',
      metadata: { name: 'gvisor' },
      handler: 'runsc',
      overhead: { podFixed: { cpu: '50m', memory: '32Mi' } },
    };
    const spec = { containers: [container('250m', '128Mi'), container('250m', '128Mi')], initContainers: [sidecar] };
    const { cpuCores, memoryBytes } = requestsOf(spec, runtime);
    assert.equal(Math.round(cpuCores * 1000), 650);
    assert.equal(memoryBytes, (128 + 128 + 64 + 32) * MIB);
  });

  test('are those of an init container that asks for more', () => {
    const spec = { containers: [container('100m', '64Mi')], initContainers: [container('50m', '1Gi')] };
    assert.deepEqual(requestsOf(spec, undefined), { cpuCores: 0.1, memoryBytes: 1024 * MIB });
  });

  test('fall back to the limits', () => {
    const spec = { containers: [container('', '', { resources: { limits: { cpu: '1', memory: '1Gi' } } })] };
    assert.deepEqual(requestsOf(spec, undefined), { cpuCores: 1, memoryBytes: 1024 * MIB });
  });
});

describe('sandboxes on a node', () => {
  const node = (cpu: string, memory: string, pods?: string): Node => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n' },
    status: { allocatable: { cpu, memory, ...(pods === undefined ? {} : { pods }) } },
  });
  const request = { cpuCores: 0.28, memoryBytes: 512 * MIB };
  const cases: [string, Node, number][] = [
    ['CPU ends first', node('3920m', '64Gi'), 14],
    ['memory ends first', node('64', '4Gi'), 8],
    ['the number of pods ends first', node('64', '64Gi', '5'), 5],
    ['nothing is known of the node', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } }, 0],
  ];
  for (const [name, given, expected] of cases)
    test(name, () => {
      assert.equal(sandboxesOn(given, request), expected);
    });

  test('are told in units that people read', () => {
    assert.equal(describeResources({ cpuCores: 1.25, memoryBytes: 1536 * MIB }), '1.25 CPU and 1.5 GiB');
    assert.equal(describeResources({ cpuCores: 0.1, memoryBytes: 64 * MIB }), '0.1 CPU and 64 MiB');
  });
});
