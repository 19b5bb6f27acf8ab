import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { refillSize, startExtensionControllers } from '../../../src/engine/controllers/extensions.ts';
import type { RunningController } from '../../../src/engine/controllers/index.ts';
import { blueprintHash } from '../../../src/engine/controllers/template/blueprint.ts';
import { surplusOf } from '../../../src/engine/controllers/warm-pool/member.ts';
import {
  EVENTS,
  type KubernetesObject,
  NETWORK_POLICIES,
  type NetworkPolicy,
  nameHash,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxTemplate,
  type SandboxWarmPool,
} from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';
import { type EngineWorld, engineWorld, removeWorld } from './engine-world.ts';

const podTemplate = { spec: { containers: [{ name: 'main', image: 'test' }] } };
const HASH_LABEL = 'agents.x-k8s.io/sandbox-template-ref-hash';

describe('warm pools and templates', () => {
  let world: EngineWorld;
  let controllers: RunningController;
  let clockMs = 0;
  const failures: string[] = [];

  before(async () => {
    world = await engineWorld();
    clockMs = 0;
    controllers = startExtensionControllers({
      client: world.client,
      now: () => new Date(Date.now() + clockMs),
      failed: (what, error) => failures.push(`${what}: ${(error as Error).message}`),
    });
    await controllers.synced;
  });
  after(async () => {
    await controllers.close();
    await world.close();
    removeWorld(world);
    assert.deepEqual(failures, []);
  });
  afterEach(() => {
    clockMs = 0;
  });

  const members = async (pool: string) =>
    (await world.client.list<Sandbox>(SANDBOXES, { namespace: 'default' })).items.filter(
      ({ metadata }) => metadata.ownerReferences?.[0]?.name === pool,
    );
  const filled = (pool: string, count: number) =>
    until(`${pool} has ${count}`, async () => {
      const found = await members(pool);
      return found.length === count && found;
    });
  const makePool = async (name: string, replicas: number, template: Partial<SandboxTemplate['spec']> = {}) => {
    await world.create<SandboxTemplate>(SANDBOX_TEMPLATES, { metadata: { name }, spec: { podTemplate, ...template } });
    await world.create<SandboxWarmPool>(SANDBOX_WARM_POOLS, {
      metadata: { name },
      spec: { replicas, sandboxTemplateRef: { name } },
    });
    return await filled(name, replicas);
  };
  const reasonsOf = async (name: string) => {
    const { items } = await world.client.list<KubernetesObject & { reason: string; involvedObject: { name: string } }>(
      EVENTS,
      { namespace: 'default' },
    );
    return items.filter(({ involvedObject }) => involvedObject.name === name).map(({ reason }) => reason);
  };

  it('replaces members that are not Ready for five minutes, holds those without room, and says so', async () => {
    const [late, held] = await makePool('late', 2);
    assert.ok(late && held);
    await world.patchStatus(SANDBOXES, held.metadata.name, {
      conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '' }],
    });
    clockMs = 5 * 60_000 + 2000;
    await world.patch(SANDBOXES, late.metadata.name, { metadata: { labels: { touched: 'yes' } } });
    await world.patch(SANDBOX_WARM_POOLS, 'late', { spec: { updateStrategy: { type: 'OnReplenish' } } });
    await until('the late one is gone', async () => (await world.get(SANDBOXES, late.metadata.name)) === undefined);
    await until('it is told', async () => (await reasonsOf('late')).includes('WarmPoolNotProgressing'));
    assert.ok(await world.get(SANDBOXES, held.metadata.name), 'the one that waits for a node stays');
    clockMs = 0;
    await world.patch(SANDBOX_WARM_POOLS, 'late', { spec: { replicas: 1 } });
    await until('it goes on', async () => (await reasonsOf('late')).includes('WarmPoolProgressing'));
  });

  it('takes in members that lost their pool', async () => {
    const [member] = await makePool('orphans', 1);
    assert.ok(member);
    await world.patch(SANDBOXES, member.metadata.name, { metadata: { ownerReferences: null } });
    await until('it is a member again', async () =>
      (await members('orphans')).some(({ metadata }) => metadata.uid === member.metadata.uid),
    );
  });

  it('fills nothing without its template, and says so', async () => {
    await world.create<SandboxWarmPool>(SANDBOX_WARM_POOLS, {
      metadata: { name: 'lone' },
      spec: { replicas: 1, sandboxTemplateRef: { name: 'lone' } },
    });
    await until('it is told', async () => (await reasonsOf('lone')).includes('WarmPoolNotProgressing'));
    await world.create<SandboxTemplate>(SANDBOX_TEMPLATES, { metadata: { name: 'lone' }, spec: { podTemplate } });
    await filled('lone', 1);
  });

  it('makes, changes and removes the NetworkPolicy of a template', async () => {
    const template = await world.create<SandboxTemplate>(SANDBOX_TEMPLATES, {
      metadata: { name: 'net' },
      spec: { podTemplate },
    });
    const policy = (check: (found: NetworkPolicy | undefined) => boolean) =>
      until('the policy is as it should be', async () => {
        const found = await world.get<NetworkPolicy>(NETWORK_POLICIES, 'net-network-policy');
        return check(found) && { found };
      });
    const { found } = await policy((made) => made !== undefined);
    assert.equal(found?.metadata.ownerReferences?.[0]?.uid, template.metadata.uid);
    assert.deepEqual(found?.spec.podSelector, { matchLabels: { [HASH_LABEL]: nameHash('net') } });
    assert.deepEqual(found?.spec.policyTypes, ['Ingress', 'Egress']);
    assert.deepEqual(
      found?.spec.egress?.[0]?.to?.map(({ ipBlock }) => ipBlock?.except),
      [
        ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16'],
        ['fc00::/7', 'fe80::/10'],
      ],
    );
    assert.deepEqual(found?.spec.ingress?.[0]?.from?.[0]?.podSelector, { matchLabels: { app: 'sandbox-router' } });
    const egress = [{ to: [{ ipBlock: { cidr: '203.0.113.0/24' } }] }];
    await world.patch(SANDBOX_TEMPLATES, 'net', { spec: { networkPolicy: { egress } } });
    const custom = await policy((changed) => changed?.spec.egress?.[0]?.to?.length === 1);
    assert.deepEqual(custom.found?.spec.egress, egress);
    assert.equal(custom.found?.spec.ingress, undefined);
    await world.patch(SANDBOX_TEMPLATES, 'net', { spec: { networkPolicyManagement: 'Unmanaged' } });
    await policy((removed) => removed === undefined);
    assert.equal(
      (await world.get<SandboxTemplate>(SANDBOX_TEMPLATES, 'net'))?.metadata.labels?.[HASH_LABEL],
      nameHash('net'),
    );
  });

  it('gives up members that are not Ready first, then the newest', () => {
    const member = (name: string, ready: boolean, second: number) =>
      ({
        metadata: { name, creationTimestamp: `2026-01-01T00:00:0${second}Z` },
        status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
      }) as Sandbox;
    const all = [member('old', true, 1), member('new', true, 3), member('unready', false, 0), member('mid', true, 2)];
    const names = (wanted: number) => surplusOf(all, wanted).map(({ metadata }) => metadata.name);
    assert.deepEqual(names(4), []);
    assert.deepEqual(names(2), ['unready', 'new']);
    assert.deepEqual(names(0), ['unready', 'new', 'mid', 'old']);
  });

  it('hashes a blueprint by what it says, not by the order of its fields', () => {
    const template = (spec: object) => ({ metadata: { name: 'x' }, spec }) as SandboxTemplate;
    const one = template({ podTemplate, service: true, networkPolicyManagement: 'Managed' });
    assert.equal(blueprintHash(one), blueprintHash(template({ service: true, podTemplate })));
    assert.notEqual(blueprintHash(one), blueprintHash(template({ podTemplate })));
  });

  it('lets claims go before refills, but never lets a pool run dry', () => {
    assert.equal(refillSize('none', 50, 0, 100), 50);
    assert.equal(refillSize('now', 50, 50, 100), 0);
    assert.ok(refillSize('now', 95, 5, 100) > 0);
    assert.ok(refillSize('lately', 50, 50, 100) > 0);
    assert.equal(refillSize('lately', 1, 99, 100), 1);
    assert.ok(refillSize('now', 1, 0, 1) > 0);
  });
});
