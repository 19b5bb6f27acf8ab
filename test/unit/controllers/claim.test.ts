import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { endsAtMs } from '../../../src/engine/controllers/claim/status.ts';
import { type RunningController, startExtensionControllers } from '../../../src/engine/controllers/index.ts';
import {
  type ResourceClient,
  SANDBOX_CLAIMS,
  SANDBOX_NAME_ANNOTATION,
  SANDBOX_TEMPLATES,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
  type SandboxTemplate,
  type SandboxWarmPool,
} from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';
import { type EngineWorld, engineWorld, removeWorld } from './engine-world.ts';

const podTemplate = { spec: { containers: [{ name: 'main', image: 'test' }] } };

describe('claims, write by write', () => {
  let world: EngineWorld;
  let controllers: RunningController;
  /** Runs before a patch of a Sandbox that comes from the controllers. */
  let beforeAdoption: ((name: string) => Promise<void>) | undefined;

  const start = async () => {
    const client: ResourceClient = {
      ...world.client,
      patch: async (type, key, patch, options) => {
        if (type === SANDBOXES) await beforeAdoption?.(key.name);
        return await world.client.patch(type, key, patch, options);
      },
    };
    controllers = startExtensionControllers({ client, failed: () => {} });
    await controllers.synced;
  };

  before(async () => {
    world = await engineWorld();
    await start();
  });
  after(async () => {
    await controllers.close();
    await world.close();
    removeWorld(world);
  });

  const makePool = async (name: string, replicas: number) => {
    await world.create<SandboxTemplate>(SANDBOX_TEMPLATES, { metadata: { name }, spec: { podTemplate } });
    await world.create<SandboxWarmPool>(SANDBOX_WARM_POOLS, {
      metadata: { name },
      spec: { replicas, sandboxTemplateRef: { name } },
    });
    return await until(`${name} is filled`, async () => {
      const { items } = await world.client.list<Sandbox>(SANDBOXES, { namespace: 'default' });
      const found = items.filter(({ metadata }) => metadata.ownerReferences?.[0]?.name === name);
      return found.length === replicas && found;
    });
  };
  const makeReady = (name: string, nodeName = 'a', ready = true) =>
    world.patchStatus(SANDBOXES, name, {
      podIPs: ['10.0.0.1'],
      nodeName,
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False', reason: 'DependenciesReady', message: '' }],
    });
  const claim = (name: string, metadata: object = {}) =>
    world.create<SandboxClaim>(SANDBOX_CLAIMS, {
      metadata: { name, ...metadata },
      spec: { warmPoolRef: { name: name.replace(/-\d$/, '') } },
    });
  const bound = (name: string) =>
    until(`${name} is bound`, async () => {
      const found = await world.get<SandboxClaim>(SANDBOX_CLAIMS, name);
      return found?.status?.sandbox?.name !== undefined && found;
    });

  it('names its choice on the claim, then moves the Sandbox in one patch, then says so', async () => {
    const [member] = await makePool('order', 1);
    assert.ok(member);
    await makeReady(member.metadata.name);
    const seen: string[] = [];
    world.writes();
    await claim('order');
    await bound('order');
    const writes = await until('all is written', () => {
      seen.push(...world.writes());
      return seen.filter((line) => line === 'patch sandboxclaims/order').length === 2 && seen;
    });
    assert.deepEqual(
      writes.filter((line) => line.startsWith('patch sandboxclaims/') || line.startsWith('patch sandboxes/')),
      [
        'patch sandboxclaims/order',
        `patch sandboxes/${member.metadata.name}`,
        'patch sandboxclaims/order/status',
        'patch sandboxclaims/order',
      ],
    );
  });

  it('completes an adoption that a crash interrupted after the first write', async () => {
    const [first, second] = await makePool('crash', 2);
    assert.ok(first && second);
    await controllers.close();
    await makeReady(first.metadata.name);
    await makeReady(second.metadata.name);
    await claim('crash', { annotations: { [SANDBOX_NAME_ANNOTATION]: second.metadata.name } });
    await start();
    const { status, metadata } = await bound('crash');
    assert.equal(status?.sandbox?.name, second.metadata.name);
    const adopted = await world.get<Sandbox>(SANDBOXES, second.metadata.name);
    assert.equal(adopted?.metadata.ownerReferences?.[0]?.uid, metadata.uid);
  });

  it('takes another when somebody changes its choice between the two writes', async () => {
    const members = await makePool('raced', 2);
    for (const { metadata } of members) await makeReady(metadata.name);
    let raced = '';
    beforeAdoption = async (name) => {
      if (raced !== '') return;
      raced = name;
      await world.patch(SANDBOXES, name, {
        metadata: { labels: { 'agents.x-k8s.io/warm-pool-sandbox': null }, ownerReferences: null },
      });
    };
    await claim('raced');
    const { status } = await bound('raced');
    beforeAdoption = undefined;
    assert.notEqual(raced, '');
    assert.notEqual(status?.sandbox?.name, raced);
    assert.equal((await world.get<Sandbox>(SANDBOXES, raced))?.metadata.ownerReferences, undefined);
  });

  it('prefers Ready members, from the node that holds most', async () => {
    const members = await makePool('spread', 4);
    const [unready, ...ready] = members.map(({ metadata }) => metadata.name);
    await makeReady(unready ?? '', 'b', false);
    for (const [index, name] of ready.entries()) await makeReady(name, index === 0 ? 'a' : 'b');
    await claim('spread-1');
    const first = await bound('spread-1');
    assert.ok(ready.slice(1).includes(first.status?.sandbox?.name ?? ''), 'from node b, Ready');
  });

  it('waits for members without an address for two seconds, then starts cold', async () => {
    await makePool('slow', 1);
    const startedAt = performance.now();
    await claim('slow');
    await until('it says that it waits', async () => {
      const found = await world.get<SandboxClaim>(SANDBOX_CLAIMS, 'slow');
      return found?.status?.conditions?.some(({ reason }) => reason === 'SandboxCreatePending');
    });
    const { status } = await bound('slow');
    assert.equal(status?.sandbox?.name, 'slow');
    // Times of creation have seconds: up to one is lost.
    assert.ok(performance.now() - startedAt > 900);
  });

  it('ends at the earlier of its times', () => {
    const claimOf = (lifecycle: object, finished?: string) =>
      ({
        spec: { lifecycle },
        status:
          finished === undefined
            ? {}
            : { conditions: [{ type: 'Finished', status: 'True', lastTransitionTime: finished }] },
      }) as SandboxClaim;
    const shutdownTime = '2026-01-01T00:01:00Z';
    assert.equal(endsAtMs(claimOf({})), undefined);
    assert.equal(endsAtMs(claimOf({ ttlSecondsAfterFinished: 5 })), undefined);
    assert.equal(endsAtMs(claimOf({ shutdownTime })), Date.parse(shutdownTime));
    assert.equal(
      endsAtMs(claimOf({ shutdownTime, ttlSecondsAfterFinished: 5 }, '2026-01-01T00:00:00Z')),
      Date.parse('2026-01-01T00:00:05Z'),
    );
    assert.equal(
      endsAtMs(claimOf({ shutdownTime, ttlSecondsAfterFinished: 500 }, '2026-01-01T00:00:00Z')),
      Date.parse(shutdownTime),
    );
  });
});
