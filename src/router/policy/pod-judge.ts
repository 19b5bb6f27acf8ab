import type { PodRecord } from '../table/index.ts';
import { type EgressPolicy, type EgressPromise, verifyEgress } from './egress.ts';
import { declaredFaults, FAULTS } from './faults.ts';
import { type Policy, promiseOf } from './policy.ts';

type Labels = Readonly<Record<string, string>>;

/** What the judge needs. */
export interface PodJudgeOptions {
  policy: Policy;
  /** The records that requests see. */
  table: { findPod(uid: string): PodRecord | undefined; pods(): Iterable<PodRecord> };
  /** Whether NetworkPolicies are followed; if not, pods are judged by what they say of themselves. */
  followsPolicies: boolean;
  /** Told of each reason for which pods of a namespace are found not to be held to their class; once while it lasts. */
  unenforced(namespace: string, egressClass: string, reason: string): void;
  /** Told of each pod in the table whose verdict changed without a change of the pod. */
  rejudged?(pod: PodRecord): void;
}

/** Knows of each pod whether policy lets requests reach it. Verdicts are made when something changes, never on a request. */
export interface PodJudge {
  /** Sets `faults` of a pod that is new or has changed. */
  judge(pod: PodRecord, labels: Labels): void;
  forget(namespace: string, podUid: string): void;
  /** A policy that is new or has changed; verdicts follow with the next {@link PodJudge.settle}. */
  upsertPolicy(policy: EgressPolicy): void;
  deletePolicy(namespace: string, name: string): void;
  /** Between both: what is not upserted again is deleted; of one namespace, or of all without it. */
  beginReplace(namespace?: string): void;
  endReplace(namespace?: string): void;
  /** Judges again what changed. */
  settle(): void;
  /** Why a pod is not held to its egress class. */
  reasonOf(podUid: string): string | undefined;
  /** Pods that are not held to their class, whether or not that keeps requests away. */
  unenforcedCount(): number;
}

const UNKNOWN = 'its NetworkPolicies are not known yet';
/** Reasons remembered as told. */
const MOST_TOLD = 1000;

/** What is remembered of a pod while egress is verified. */
interface Judged {
  uid: string;
  labels: Labels;
}

/** A judge that knows no policies yet: until the first list of them is complete, no class counts as enforced. */
export function createPodJudge(options: PodJudgeOptions): PodJudge {
  const { policy, table, followsPolicies, unenforced } = options;
  const pods = new Map<string, Map<string, Judged>>();
  const policies = new Map<string, Map<string, EgressPolicy>>();
  const reasons = new Map<string, string>();
  const told = new Set<string>();
  const dirty = new Set<string>();
  const replacements = new Map<string, Set<string>>();
  /** Namespaces whose policies have been listed; `''` for all. */
  const known = new Set<string>();

  function faultsOf(pod: PodRecord, labels: Labels): number {
    const settings = policy.settings();
    const faults = declaredFaults(settings, pod);
    if (!followsPolicies || settings.egressVerify === 'off') return faults;
    const reason = reasonAgainst(promiseOf(settings, pod.egressClass), pod, labels);
    if (reason === undefined) {
      reasons.delete(pod.uid);
      return faults;
    }
    reasons.set(pod.uid, reason);
    if (reason !== UNKNOWN) tell(pod, reason);
    return settings.egressVerify === 'enforce' ? faults | FAULTS.egressUnenforced : faults;
  }

  function reasonAgainst(promise: EgressPromise, { namespace }: PodRecord, labels: Labels): string | undefined {
    if (!known.has('') && !known.has(namespace)) return UNKNOWN;
    const verdict = verifyEgress(promise, { namespace, labels }, policies.get(namespace)?.values() ?? []);
    return verdict.enforced ? undefined : verdict.reason;
  }

  function tell({ namespace, egressClass }: PodRecord, reason: string): void {
    const key = `${namespace} ${egressClass} ${reason}`;
    if (told.has(key)) return;
    if (told.size >= MOST_TOLD) told.clear();
    told.add(key);
    unenforced(namespace, egressClass, reason);
  }

  function forgetIn(namespace: string, uid: string): void {
    const judged = pods.get(namespace);
    judged?.delete(uid);
    if (judged?.size === 0) pods.delete(namespace);
    reasons.delete(uid);
  }

  function rejudge(pod: PodRecord, labels: Labels): void {
    const before = { faults: pod.faults, reason: reasons.get(pod.uid) };
    pod.faults = faultsOf(pod, labels);
    if (before.faults !== pod.faults || before.reason !== reasons.get(pod.uid)) options.rejudged?.(pod);
  }

  function judgeNamespace(namespace: string): void {
    for (const { uid, labels } of [...(pods.get(namespace)?.values() ?? [])]) {
      const pod = table.findPod(uid);
      if (pod === undefined) forgetIn(namespace, uid);
      else rejudge(pod, labels);
    }
  }

  policy.onReplaced(() => {
    told.clear();
    for (const pod of table.pods()) rejudge(pod, pods.get(pod.namespace)?.get(pod.uid)?.labels ?? {});
  });

  return {
    judge: (pod, labels) => {
      pod.faults = faultsOf(pod, labels);
      if (!followsPolicies) return;
      const judged = pods.get(pod.namespace) ?? new Map<string, Judged>();
      const known = judged.get(pod.uid);
      // Most changes are of other things: what comes and goes thousands of times a second is what the garbage collector stops for.
      if (known !== undefined && areSame(known.labels, labels)) return;
      pods.set(pod.namespace, judged.set(pod.uid, { uid: pod.uid, labels }));
    },
    forget: forgetIn,
    upsertPolicy: (changed) => {
      for (const [scope, keys] of replacements)
        if (scope === '' || scope === changed.namespace) keys.delete(`${changed.namespace}/${changed.name}`);
      const ofNamespace = policies.get(changed.namespace) ?? new Map<string, EgressPolicy>();
      policies.set(changed.namespace, ofNamespace.set(changed.name, changed));
      dirty.add(changed.namespace);
    },
    deletePolicy,
    beginReplace: (namespace) => {
      const keys = new Set<string>();
      for (const [name, ofNamespace] of policies)
        if (namespace === undefined || name === namespace)
          for (const each of ofNamespace.keys()) keys.add(`${name}/${each}`);
      replacements.set(namespace ?? '', keys);
    },
    endReplace: (namespace) => {
      const left = replacements.get(namespace ?? '') ?? [];
      replacements.delete(namespace ?? '');
      for (const key of left) {
        const [ofNamespace = '', name = ''] = key.split('/');
        deletePolicy(ofNamespace, name);
      }
      const scope = namespace ?? '';
      if (known.has(scope)) return;
      known.add(scope);
      for (const each of scope === '' ? pods.keys() : [scope]) dirty.add(each);
    },
    settle: () => {
      for (const namespace of dirty) judgeNamespace(namespace);
      dirty.clear();
    },
    reasonOf: (uid) => reasons.get(uid),
    unenforcedCount: () => reasons.size,
  };

  function deletePolicy(namespace: string, name: string): void {
    const ofNamespace = policies.get(namespace);
    if (ofNamespace?.delete(name) !== true) return;
    if (ofNamespace.size === 0) policies.delete(namespace);
    dirty.add(namespace);
  }
}

function areSame(labels: Labels, others: Labels): boolean {
  const names = Object.keys(labels);
  return names.length === Object.keys(others).length && names.every((name) => labels[name] === others[name]);
}
