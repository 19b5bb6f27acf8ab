import { EGRESS_LABEL } from '../../../kubernetes/index.ts';
import { BUILT_IN_PROMISES, type EgressPromise, egressPolicyOf, verifyEgress } from '../../../router/policy/egress.ts';
import type { Check } from '../check.ts';
import type { Facts } from '../facts.ts';
import { count, failure, nameOf, ok, type Verdict } from '../finding.ts';
import { type Subject, subjectsOf } from '../subjects.ts';

/** What a class of the operator's own, or none, is held to: only the router's configuration knows what such a class promises. */
const LEAST_PROMISE: EgressPromise = {
  clusterPeers: true,
  allowed: ['0.0.0.0/0', '::/0'],
  never: ['169.254.0.0/16', 'fe80::/10'],
};

/** Whether a NetworkPolicy holds every pod to its class: gVisor does not. */
export const egressPolicy: Check = {
  id: 'egress-policy',
  title: 'a NetworkPolicy holds every sandbox to its egress class',
  needs: ['sandboxes', 'pods', 'policies'],
  notForEngine:
    'The engine of "sandbox-router up" gives gVisor sandboxes no way out, and plain processes every way: its start says which.',
  judge: judgeEgress,
};

/** By the very rule with which the router judges pods before it forwards to them. */
export function judgeEgress(facts: Facts): Verdict[] {
  const policies = Map.groupBy(facts.lists.policies.items.map(egressPolicyOf), ({ namespace }) => namespace);
  const subjects = subjectsOf(facts);
  const faults = subjects.flatMap((subject) => {
    const verdict = verifyEgress(promiseOf(subject), subject, policies.get(subject.namespace) ?? []);
    return verdict.enforced ? [] : [unenforced(subject, verdict.reason)];
  });
  return faults.length > 0 ? faults : [ok(`${count(subjects.length, 'sandbox', 'sandboxes')} held to their class.`)];
}

function promiseOf({ labels }: Subject): EgressPromise {
  const egressClass = labels[EGRESS_LABEL] ?? '';
  // A label may say anything, "constructor" too.
  const known = Object.hasOwn(BUILT_IN_PROMISES, egressClass) ? BUILT_IN_PROMISES[egressClass] : undefined;
  return known ?? LEAST_PROMISE;
}

function unenforced({ object, labels, namespace }: Subject, reason: string): Verdict {
  const egressClass = labels[EGRESS_LABEL];
  const limit = egressClass === undefined ? 'what it needs' : `what class "${egressClass}" promises`;
  return failure(
    object,
    `Its egress is not held to ${limit}: ${reason}.`,
    `In namespace ${namespace}, let a NetworkPolicy with policyTypes [Egress] select ${nameOf(object)}, and let all that select it allow no more than ${limit}.`,
  );
}
