import { Counter, type Registry } from 'prom-client';

/** What is counted of each tenant and namespace. */
export interface TenantMetrics {
  request(tenant: string, namespace: string, status: number): void;
  wake(tenant: string, namespace: string, result: 'ok' | 'failed'): void;
}

interface Counts {
  /** By first digit of the status. */
  requests: Float64Array;
  wakes: { ok: number; failed: number };
}

/** Pairs that are told apart; what is beyond is told of together. */
const MOST_PAIRS = 2000;
const OTHERS = 'others';

/** Counters of tenants: two look-ups in maps for a request, and labels at scrape time. */
export function createTenantMetrics(registry: Registry): TenantMetrics {
  const byTenant = new Map<string, Map<string, Counts>>();
  let pairs = 0;

  function countsOf(tenant: string, namespace: string): Counts {
    return byTenant.get(tenant)?.get(namespace) ?? add(tenant, namespace);
  }

  function add(tenant: string, namespace: string): Counts {
    if (pairs >= MOST_PAIRS && (tenant !== OTHERS || namespace !== OTHERS)) return countsOf(OTHERS, OTHERS);
    pairs++;
    const counts = { requests: new Float64Array(10), wakes: { ok: 0, failed: 0 } };
    const ofTenant = byTenant.get(tenant);
    if (ofTenant === undefined) byTenant.set(tenant, new Map([[namespace, counts]]));
    else ofTenant.set(namespace, counts);
    return counts;
  }

  function each(tell: (labels: { tenant: string; sandbox_namespace: string }, counts: Counts) => void): void {
    for (const [tenant, namespaces] of byTenant)
      for (const [namespace, counts] of namespaces) tell({ tenant, sandbox_namespace: namespace }, counts);
  }

  new Counter({
    name: 'sandbox_router_tenant_requests_total',
    help: 'Requests for sandboxes that exist, by tenant of the caller, namespace of the sandbox and class of the status.',
    labelNames: ['tenant', 'sandbox_namespace', 'class'],
    registers: [registry],
    collect() {
      this.reset();
      each((labels, { requests }) =>
        requests.forEach((count, digit) => {
          if (count > 0) this.inc({ ...labels, class: `${digit}xx` }, count);
        }),
      );
    },
  });
  new Counter({
    name: 'sandbox_router_tenant_wakes_total',
    help: 'Wakes that ended, by tenant of whoever asked first, namespace of the sandbox and result.',
    labelNames: ['tenant', 'sandbox_namespace', 'result'],
    registers: [registry],
    collect() {
      this.reset();
      each((labels, { wakes }) => {
        for (const result of ['ok', 'failed'] as const)
          if (wakes[result] > 0) this.inc({ ...labels, result }, wakes[result]);
      });
    },
  });

  return {
    request: (tenant, namespace, status) => {
      const { requests } = countsOf(tenant, namespace);
      const digit = Math.trunc(status / 100);
      requests[digit] = (requests[digit] as number) + 1;
    },
    wake: (tenant, namespace, result) => void countsOf(tenant, namespace).wakes[result]++,
  };
}
