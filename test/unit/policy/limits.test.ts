import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TenantSettings } from '../../../src/config/index.ts';
import { createLimits } from '../../../src/router/policy/limits.ts';
import { createTenants, type Tenant } from '../../../src/router/policy/tenants.ts';
import type { Route } from '../../../src/router/table/index.ts';

function settings(more: Partial<TenantSettings>): ReadonlyMap<string, TenantSettings> {
  return new Map([['a', { namespaces: ['a'], defaultNamespace: 'a', limits: {}, sandboxLimits: {}, ...more }]]);
}

const tenantWith = (more: Partial<TenantSettings>) => createTenants(settings(more)).find('a') as Tenant;
const routeTo = (name: string, inFlight = 0) =>
  ({ sandbox: { namespace: 'a', name }, activity: { inFlight } }) as unknown as Route;

/** Sandboxes awake as a set of names. */
function awakeCount(names: string[]) {
  const awake = new Set(names);
  return {
    of: () => awake.size,
    begin: (_: string, name: string) => void awake.add(name),
    end: (_: string, name: string) => void awake.delete(name),
    refresh: () => {},
  };
}

describe('limits', () => {
  it('of nobody who has none', () => {
    const limits = createLimits(awakeCount([]), () => 1);
    const tenant = tenantWith({});
    for (let index = 0; index < 1000; index++) {
      assert.equal(limits.enter(tenant, 0), undefined);
      assert.equal(limits.enterSandbox(tenant, routeTo('x', 1000), 0), undefined);
      assert.equal(limits.beginWake(tenant, routeTo(`x${index}`), 0), undefined);
      assert.equal(limits.hold(tenant, routeTo('x')), undefined);
    }
  });

  it('tell the time at which a request will do, and it does then', () => {
    const limits = createLimits(awakeCount([]), () => 1);
    const tenant = tenantWith({ limits: { requestsPerSecond: 2, burst: 2 } });
    assert.deepEqual([limits.enter(tenant, 1000), limits.enter(tenant, 1000)], [undefined, undefined]);
    const refused = limits.enter(tenant, 1000);
    assert.equal(refused?.code, 'rate_limited');
    assert.equal(refused?.retryAfterSeconds, 0.5);
    assert.equal(limits.enter(tenant, 1500), undefined);
    assert.equal(tenant.usage.inFlight, 3, 'who is refused is not counted');
  });

  it('count who is in, and let go', () => {
    const limits = createLimits(awakeCount([]), () => 7);
    const tenant = tenantWith({ limits: { concurrency: 1, held: 1 } });
    assert.equal(limits.enter(tenant, 0), undefined);
    assert.equal(limits.enter(tenant, 0)?.code, 'rate_limited');
    limits.leave(tenant.usage);
    assert.equal(limits.enter(tenant, 0), undefined);
    assert.equal(limits.hold(tenant, routeTo('x')), undefined);
    assert.deepEqual(
      [limits.hold(tenant, routeTo('x'))?.code, limits.hold(tenant, routeTo('x'))?.retryAfterSeconds],
      ['too_many_held', 7],
    );
    limits.release(tenant, routeTo('x'));
    assert.equal(limits.hold(tenant, routeTo('x')), undefined);
  });

  it('of each sandbox are its own', () => {
    const limits = createLimits(awakeCount([]), () => 1);
    const tenant = tenantWith({ sandboxLimits: { requestsPerSecond: 1, concurrency: 5, wakesPerMinute: 1 } });
    const [first, second] = [routeTo('first'), routeTo('second')];
    assert.equal(limits.enterSandbox(tenant, first, 0), undefined);
    assert.equal(limits.enterSandbox(tenant, first, 0)?.code, 'rate_limited');
    assert.equal(limits.enterSandbox(tenant, second, 0), undefined);
    assert.equal(limits.enterSandbox(tenant, routeTo('third', 5), 0)?.code, 'rate_limited');
    assert.equal(limits.beginWake(tenant, first, 0), undefined);
    assert.equal(limits.beginWake(tenant, first, 0)?.retryAfterSeconds, 60);
    assert.equal(limits.beginWake(tenant, second, 0), undefined);
  });

  it('count a sandbox as awake from the beginning of its wake', () => {
    const limits = createLimits(awakeCount(['one']), () => 1);
    const tenant = tenantWith({ limits: { awake: 2 } });
    assert.equal(limits.beginWake(tenant, routeTo('two'), 0), undefined);
    assert.equal(limits.beginWake(tenant, routeTo('three'), 0)?.code, 'too_many_awake');
    limits.endWake(routeTo('two'));
    assert.equal(limits.beginWake(tenant, routeTo('three'), 0), undefined);
  });
});

describe('tenants', () => {
  it('without configuration are namespaces', () => {
    const tenants = createTenants(undefined);
    assert.deepEqual(tenants.find('x')?.namespaces, new Set(['x']));
    assert.equal(tenants.ownerOf('x')?.name, 'x');
    assert.equal(tenants.isConfigured(), false);
  });
  it('with configuration are those, and their usage outlives a reload', () => {
    const tenants = createTenants(settings({ limits: { concurrency: 1 } }));
    const before = tenants.find('a') as Tenant;
    before.usage.inFlight = 1;
    tenants.replace(settings({ namespaces: ['b'], defaultNamespace: 'b' }));
    assert.equal(tenants.find('a')?.usage, before.usage);
    assert.equal(tenants.find('b'), undefined);
    assert.equal(tenants.ownerOf('a'), undefined);
    assert.equal(tenants.ownerOf('b')?.name, 'a');
  });
});

describe('limits of sandboxes and of bytes', () => {
  const usual = () => createLimits(awakeCount([]), () => 1);

  it('count open tunnels of tenant and sandbox, and give them back', () => {
    const limits = usual();
    const tenant = tenantWith({ limits: { webSockets: 3 }, sandboxLimits: { webSockets: 2 } });
    const [one, other] = [routeTo('one'), routeTo('other')];
    assert.deepEqual([limits.openTunnel(tenant, one), limits.openTunnel(tenant, one)], [undefined, undefined]);
    assert.match(limits.openTunnel(tenant, one)?.detail ?? '', /one has too many WebSockets/);
    assert.equal(limits.openTunnel(tenant, other), undefined);
    assert.match(limits.openTunnel(tenant, other)?.detail ?? '', /Tenant a has too many WebSockets/);
    limits.closeTunnel(tenant, one);
    assert.equal(limits.openTunnel(tenant, one), undefined);
  });

  it('bound what is held for one sandbox', () => {
    const limits = usual();
    const tenant = tenantWith({ sandboxLimits: { held: 1 } });
    const route = routeTo('x');
    assert.equal(limits.hold(tenant, route), undefined);
    assert.equal(limits.hold(tenant, route)?.code, 'too_many_held');
    assert.equal(limits.hold(tenant, routeTo('y')), undefined);
    limits.release(tenant, route);
    assert.equal(limits.hold(tenant, route), undefined);
  });

  it('pace bytes after a second worth of them, by the slower of tenant and sandbox, and nobody without a rate', () => {
    const limits = usual();
    assert.equal(limits.pacer(tenantWith({ limits: { concurrency: 1 } }), routeTo('x')), undefined);
    const tenant = tenantWith({ limits: { bytesPerSecond: 1000 }, sandboxLimits: { bytesPerSecond: 500 } });
    const route = routeTo('x');
    const pacer = limits.pacer(tenant, route);
    assert.equal(Math.max(0, pacer?.spend(500, 10_000) ?? -1), 0);
    assert.equal(pacer?.spend(500, 10_000), 1000);
    assert.equal(
      limits.pacer(tenant, route)?.spend(500, 11_000),
      1000,
      'the books are the sandbox’s, not the request’s',
    );
    assert.equal(
      limits.maxBodyBytes(tenantWith({ limits: { maxBodyBytes: 9 }, sandboxLimits: { maxBodyBytes: 7 } })),
      7,
    );
  });

  it('tell where one stands in RateLimit fields', () => {
    const limits = usual();
    const tenant = tenantWith({ limits: { requestsPerSecond: 2, burst: 4, concurrency: 9 } });
    assert.deepEqual(limits.fields(tenant, 0), [
      'ratelimit-policy',
      '"tenant-requests";q=4;w=2',
      'ratelimit',
      '"tenant-requests";r=4;t=0',
    ]);
    for (let index = 0; index < 4; index++) limits.enter(tenant, 0);
    const { policy, state } = limits.enter(tenant, 0)?.rateLimit ?? {};
    assert.deepEqual([policy, state], ['"tenant-requests";q=4;w=2', '"tenant-requests";r=0;t=1']);
    for (let index = 1; index <= 5; index++) limits.enter(tenant, 100_000 * index);
    assert.equal(limits.enter(tenant, 1e6)?.rateLimit?.policy, '"tenant-concurrency";q=9;qu="concurrent-requests"');
    assert.equal(limits.fields(tenantWith({}), 0), undefined);
  });
});

describe('limits that routers share', () => {
  const parts = (replicas: number, more: Partial<TenantSettings>) =>
    Array.from({ length: replicas }, (_, rank) => {
      const tenants = createTenants(settings(more));
      const tenant = tenants.find('a') as Tenant;
      tenants.share({ rank, replicas });
      return tenant.limits;
    });
  const sum = (numbers: number[]) => numbers.reduce((left, right) => left + right, 0);

  for (const replicas of [1, 2, 3, 7])
    it(`add up to the whole among ${replicas}`, () => {
      const all = parts(replicas, {
        limits: { requestsPerSecond: 100, concurrency: 10, held: 20, webSockets: 8, bytesPerSecond: 1e6, awake: 5 },
      });
      assert.ok(Math.abs(sum(all.map(({ requests }) => requests?.perSecond ?? 0)) - 100) < 1e-9);
      assert.equal(sum(all.map(({ requests }) => requests?.burst ?? 0)), 100);
      assert.deepEqual(
        [
          sum(all.map((each) => each.concurrency)),
          sum(all.map((each) => each.held)),
          sum(all.map((each) => each.webSockets)),
        ],
        [10, 20, 8],
      );
      assert.ok(Math.abs(sum(all.map(({ bytesPerSecond }) => bytesPerSecond)) - 1e6) < 1e-3);
      assert.deepEqual([...new Set(all.map(({ awake }) => awake))], [5], 'which the table counts for all');
    });

  it('leave at least one of everything to each', () => {
    for (const { concurrency, requests } of parts(5, { limits: { concurrency: 2, requestsPerSecond: 1 } }))
      assert.deepEqual([concurrency, requests?.burst], [1, 1]);
  });

  it('change for whoever is in already, and stay so when the configuration does', () => {
    const tenants = createTenants(settings({ limits: { concurrency: 10 } }));
    const tenant = tenants.find('a') as Tenant;
    tenants.share({ rank: 0, replicas: 5 });
    assert.equal(tenant.limits.concurrency, 2);
    tenants.replace(settings({ limits: { concurrency: 20 } }));
    assert.equal(tenants.find('a')?.limits.concurrency, 4);
  });
});
