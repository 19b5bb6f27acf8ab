import type { Route, RoutingTable } from '../table/index.ts';
import type { Tenant, Tenants } from './tenants.ts';

/** Counts the sandboxes of a tenant that run. */
export interface AwakeCount {
  of(tenant: Tenant): number;
  /** A wake begins: the sandbox counts from now on, before the API says so. */
  begin(namespace: string, name: string): void;
  /** The wake has ended: from now on the table tells. */
  end(namespace: string, name: string): void;
  /** Tenants were replaced: counting starts where a limit asks for it. */
  refresh(): void;
}

/** A count that follows the table; it costs nothing while no tenant has a limit. */
export function createAwakeCount(
  table: Pick<RoutingTable, 'routes' | 'find' | 'onChange'>,
  tenants: Pick<Tenants, 'limitAwake'>,
): AwakeCount {
  let counts: Map<string, Set<string>> | undefined;

  function set(namespace: string, name: string, awake: boolean): void {
    const names = counts?.get(namespace);
    if (!awake) names?.delete(name);
    else if (names === undefined) counts?.set(namespace, new Set([name]));
    else names.add(name);
  }

  function refresh(): void {
    const needed = tenants.limitAwake();
    if (!needed) counts = undefined;
    if (!needed || counts !== undefined) return;
    counts = new Map();
    for (const route of table.routes()) set(route.sandbox.namespace, route.sandbox.name, runs(route));
  }

  table.onChange((namespace, name, route) => {
    if (counts !== undefined) set(namespace, name, runs(route));
  });
  refresh();
  return {
    of: ({ namespaces }) => {
      let sum = 0;
      for (const namespace of namespaces === '*' ? (counts?.keys() ?? []) : namespaces)
        sum += counts?.get(namespace)?.size ?? 0;
      return sum;
    },
    begin: (namespace, name) => set(namespace, name, true),
    end: (namespace, name) => set(namespace, name, runs(table.find(namespace, name))),
    refresh,
  };
}

function runs(route: Route | undefined): boolean {
  return route?.sandbox.running === true && !route.sandbox.pooled;
}
