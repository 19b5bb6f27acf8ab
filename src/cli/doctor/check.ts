import type { Facts, ListName } from './facts.ts';
import { type CheckId, type Finding, skipped, type Verdict } from './finding.ts';

/** One point of the readiness checklist. */
export interface Check {
  id: CheckId;
  /** What holds when all is well. */
  title: string;
  /** Lists without which nothing can be judged. */
  needs: readonly ListName[];
  /** Set where the engine of `up` answers by itself for what the check looks at: why. */
  notForEngine?: string;
  judge(facts: Facts): Verdict[];
}

/** Findings of one check; where a list that it needs could not be read, only why. */
export function runCheck(check: Check, facts: Facts): Finding[] {
  return verdictsOf(check, facts).map((verdict) => ({ check: check.id, ...verdict }));
}

function verdictsOf(check: Check, facts: Facts): Verdict[] {
  if (facts.server.isEngine && check.notForEngine !== undefined)
    return [skipped(check.notForEngine, 'Run doctor again with the kubeconfig of the cluster that is to serve.')];
  const missing = unreadLists(facts, check.needs);
  return missing.length > 0 ? missing : check.judge(facts);
}

/** A verdict for each reason why one of these lists could not be read; `cause` narrows to forbidden, or to not served. */
export function unreadLists(facts: Facts, names: readonly ListName[], cause?: 'forbidden' | 'not-served'): Verdict[] {
  const reasons = new Map<string, Verdict>();
  for (const name of names) {
    const { unread } = facts.lists[name];
    if (unread !== undefined && (cause === undefined || unread.cause === cause) && !reasons.has(unread.reason))
      reasons.set(unread.reason, skipped(unread.reason, unread.fix));
  }
  return [...reasons.values()];
}
