import { EGRESS_LABEL } from '../../kubernetes/index.ts';
import type { Problem } from '../problem.ts';
import type { PodRecord, SandboxRecord } from '../table/index.ts';
import { declaredFaults, FAULTS } from './faults.ts';
import type { PolicySettings } from './policy.ts';
import type { Tenant } from './tenants.ts';

/** Seconds after which a NetworkPolicy that is made meanwhile is surely known. */
const POLICY_DELAY_SECONDS = 5;

/**
 * Why a tenant may not be sent to a sandbox by its runtime and egress class; undefined where it may. A sandbox that has no pod is judged by what its
 * pod will say. `reasonOf` tells why a pod is not held to its class.
 */
export function refusedByClass(
  tenant: Tenant,
  sandbox: SandboxRecord,
  pod: PodRecord | undefined,
  settings: PolicySettings,
  reasonOf: (podUid: string) => string | undefined,
): Problem | undefined {
  const { egressClasses, runtimeClasses } = tenant;
  if (pod?.faults === 0 && egressClasses === undefined && runtimeClasses === undefined) return undefined;
  const { runtimeClass, egressClass } = pod ?? sandbox;
  const faults = pod?.faults ?? declaredFaults(settings, sandbox);
  const at = { sandbox: sandbox.name, namespace: sandbox.namespace };
  const runtimeAllowed =
    runtimeClasses === undefined || runtimeClass === ''
      ? (faults & FAULTS.runtimeNotAllowed) === 0
      : runtimeClasses.has(runtimeClass);
  if (!runtimeAllowed)
    return {
      ...at,
      code: 'runtime_forbidden',
      detail: `${sandbox.name} runs in RuntimeClass ${runtimeClass}, which is not allowed.`,
    };
  if ((faults & FAULTS.runtimeUnnamed) !== 0)
    return {
      ...at,
      code: 'runtime_forbidden',
      detail: `${sandbox.name} names no RuntimeClass; spec.podTemplate.spec.runtimeClassName must.`,
    };
  if (egressClass === '' && ((faults & FAULTS.egressUnlabelled) !== 0 || egressClasses !== undefined))
    return { ...at, code: 'egress_unlabelled', detail: `The pod of ${sandbox.name} has no label ${EGRESS_LABEL}.` };
  if (egressClasses !== undefined && !egressClasses.has(egressClass))
    return {
      ...at,
      code: 'egress_forbidden',
      detail: `Tenant ${tenant.name} may not reach egress class ${egressClass}.`,
    };
  if ((faults & FAULTS.egressUnenforced) !== 0)
    return {
      ...at,
      code: 'egress_unenforced',
      detail: `Egress class ${egressClass || '(none)'} of ${sandbox.name} is not enforced: ${reasonOf(pod?.uid ?? '') ?? 'not judged yet'}.`,
      retryAfterSeconds: POLICY_DELAY_SECONDS,
    };
  return undefined;
}
