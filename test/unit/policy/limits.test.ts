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
      assert.equal(limits.hold(tenant), undefined);
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
    assert.equal(limits.hold(tenant), undefined);
    assert.deepEqual([limits.hold(tenant)?.code, limits.hold(tenant)?.retryAfterSeconds], ['too_many_held', 7]);
    limits.release(tenant);
    assert.equal(limits.hold(tenant), undefined);
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
