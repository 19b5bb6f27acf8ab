import { busyMs, type Route, type RoutingTable } from '../table/index.ts';

/** What a sandbox does, in one word. */
export type SandboxState = 'running' | 'starting' | 'pausing' | 'paused' | 'finished';

/** A sandbox as `/-/v1` shows it. */
export interface SandboxView {
  name: string;
  namespace: string;
  state: SandboxState;
  reason: string;
  message: string;
  port: number;
  path: string;
  isolated: boolean;
  /** Its busy lease; null without one. */
  busy: { until: string; why: string } | null;
  /** Connections of clients to this router that sleep with it. */
  sleepingSockets: number;
}

/** What a view is made of beside the route. */
export interface ViewOptions {
  table: Pick<RoutingTable, 'isRoutable'>;
  sleepingOf(namespace: string, name: string): number;
}

/** What a sandbox does. Asked to pause is not paused: its pod may still be there, on its way out. */
export function stateOf(route: Route, table: Pick<RoutingTable, 'isRoutable'>): SandboxState {
  const { sandbox } = route;
  if (sandbox.finished) return 'finished';
  if (sandbox.running) return table.isRoutable(route) ? 'running' : 'starting';
  return sandbox.suspended ? 'paused' : 'pausing';
}

/** The sandbox of a route as callers see it. */
export function viewOf(route: Route, { table, sleepingOf }: ViewOptions): SandboxView {
  const { sandbox } = route;
  return {
    name: sandbox.name,
    namespace: sandbox.namespace,
    state: stateOf(route, table),
    reason: sandbox.readyReason,
    message: sandbox.readyMessage,
    port: sandbox.port,
    path: `/${sandbox.name}.${sandbox.namespace}/`,
    isolated: sandbox.isolated,
    busy: busyOf(route),
    sleepingSockets: sleepingOf(sandbox.namespace, sandbox.name),
  };
}

function busyOf({ pod }: Route): SandboxView['busy'] {
  const lease = pod?.busy;
  if (lease === undefined || busyMs(lease, Date.now()) === 0) return null;
  return { until: new Date(lease.untilMs).toISOString(), why: lease.why };
}
