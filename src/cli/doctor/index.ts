/** The production readiness checklist: facts are read once, and each check judges them. Nothing here changes the cluster. */
import { type Check, runCheck } from './check.ts';
import { egressLabel } from './checks/egress-label.ts';
import { egressPolicy } from './checks/egress-policy.ts';
import { nodePools } from './checks/node-pools.ts';
import { rbac } from './checks/rbac.ts';
import { routerIngress } from './checks/router-ingress.ts';
import { runtimeClass } from './checks/runtime-class.ts';
import { snapshots } from './checks/snapshots.ts';
import { versions } from './checks/versions.ts';
import { warmPools } from './checks/warm-pools.ts';
import type { CheckId, Finding, Severity } from './finding.ts';
import { type FactsClient, type FactsScope, readFacts } from './read-facts.ts';

export type { CheckId, Finding, ObjectReference, Severity } from './finding.ts';
export { printReport } from './print.ts';
export type { FactsScope } from './read-facts.ts';

/** Every check, in the order of the report: what the others build on comes first. */
export const CHECKS: readonly Check[] = [
  versions,
  rbac,
  runtimeClass,
  nodePools,
  egressLabel,
  egressPolicy,
  routerIngress,
  warmPools,
  snapshots,
];

/** What `doctor --json` prints. */
export interface Report {
  /** Each check with the worst of its findings. */
  checks: { id: CheckId; title: string; severity: Severity }[];
  findings: Finding[];
  /** Number of findings by severity. */
  summary: Record<Severity, number>;
}

const WORST_FIRST: readonly Severity[] = ['failure', 'warning', 'skipped', 'ok'];

/** Examines a cluster. @throws ApiError where the server can't be reached or does not know who asks */
export async function examine(client: FactsClient, scope: FactsScope): Promise<Report> {
  const facts = await readFacts(client, scope);
  return reportOf(CHECKS.map((check) => ({ check, findings: runCheck(check, facts) })));
}

function reportOf(results: readonly { check: Check; findings: Finding[] }[]): Report {
  const findings = results.flatMap((result) => result.findings);
  const amount = (severity: Severity) => findings.filter((finding) => finding.severity === severity).length;
  return {
    checks: results.map(({ check, findings: own }) => ({
      id: check.id,
      title: check.title,
      severity: WORST_FIRST.find((severity) => own.some((finding) => finding.severity === severity)) ?? 'ok',
    })),
    findings,
    summary: { ok: amount('ok'), warning: amount('warning'), failure: amount('failure'), skipped: amount('skipped') },
  };
}
