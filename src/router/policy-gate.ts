import type { ResourceClient } from '../kubernetes/index.ts';
import {
  createAwakeCount,
  createLimits,
  createPodJudge,
  type Limits,
  type PodJudge,
  type Policy,
  refusedByClass,
  type Tenant,
} from './policy/index.ts';
import { startPolicyFeed } from './policy-feed.ts';
import type { Problem } from './problem.ts';
import type { PodRecord, Route, RoutingTable } from './table/index.ts';

/** What the gate is made of. */
export interface PolicyGateOptions {
  policy: Policy;
  table: RoutingTable;
  client: ResourceClient;
  /** Namespaces whose NetworkPolicies count; all if empty. */
  namespaces: readonly string[];
  typicalWakeSeconds(): number;
  report(what: string, error: unknown): void;
}

/** Policy at work: what every request asks before it goes on. */
export interface PolicyGate {
  judge: PodJudge;
  limits: Limits;
  /** Why a tenant may not be sent to a sandbox by its classes; without a pod by what its pod will say. */
  refusedByClass(tenant: Tenant, route: Route, pod: PodRecord | undefined): Problem | undefined;
  /** Whether it knows what it must to let anybody in. */
  isSynced(): boolean;
  close(): void;
}

/** Starts to follow NetworkPolicies if egress is to be verified. */
export function startPolicyGate({
  policy,
  table,
  client,
  namespaces,
  typicalWakeSeconds,
  report,
}: PolicyGateOptions): PolicyGate {
  const followsPolicies = policy.settings().egressVerify !== 'off';
  const judge = createPodJudge({
    policy,
    table,
    followsPolicies,
    unenforced: (namespace, egressClass, reason) =>
      report(`pods of egress class "${egressClass}" in ${namespace} are not held to it`, new Error(reason)),
  });
  const failed = (error: unknown) => report('following NetworkPolicies', error);
  const feed = followsPolicies ? startPolicyFeed({ client, judge, namespaces, failed }) : undefined;
  const awake = createAwakeCount(table, policy.tenants);
  policy.onReplaced(awake.refresh);
  return {
    judge,
    limits: createLimits(awake, typicalWakeSeconds),
    refusedByClass: (tenant, route, pod) =>
      refusedByClass(tenant, route.sandbox, pod, policy.settings(), judge.reasonOf),
    isSynced: () => policy.settings().egressVerify !== 'enforce' || feed?.isSynced() === true,
    close: () => feed?.close(),
  };
}
