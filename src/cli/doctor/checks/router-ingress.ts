import { matchesLabels, type NetworkPolicy } from '../../../kubernetes/index.ts';
import { projectSandbox } from '../../../router/table/index.ts';
import type { Check } from '../check.ts';
import type { Facts } from '../facts.ts';
import { count, failure, nameOf, ok, referenceTo, type Verdict, warning } from '../finding.ts';
import { type Caller, judgeIngress, restrictsIngress } from '../ingress.ts';
import { type Subject, subjectsOf } from '../subjects.ts';

/** Port of a pod whose Sandbox is gone: the default of design section 4. */
const DEFAULT_PORT = 8888;

/** Whether policies let the router in, and nobody else. */
export const routerIngress: Check = {
  id: 'router-ingress',
  title: 'the router reaches every sandbox, and nothing gets past it',
  needs: ['sandboxes', 'pods', 'policies', 'routerNamespaces', 'routerPods'],
  notForEngine: 'The engine of "sandbox-router up" lets only its own machine reach sandboxes.',
  judge: judgeRouterIngress,
};

/** Judged for every router pod that runs; for none, by the labels that it will have. */
export function judgeRouterIngress(facts: Facts): Verdict[] {
  const callers = callersOf(facts);
  const subjects = subjectsOf(facts);
  const policies = Map.groupBy(
    facts.lists.policies.items.filter(restrictsIngress),
    ({ metadata }) => metadata.namespace ?? '',
  );
  const faults = subjects.flatMap((subject) => judgeSubject(subject, policies.get(subject.namespace) ?? [], callers));
  const fine = ok(`The policies of ${count(subjects.length, 'sandbox', 'sandboxes')} let the router in.`);
  return [
    ...(facts.lists.routerPods.items.length === 0 ? [noRouter(facts)] : []),
    ...(faults.length > 0 ? faults : [fine]),
  ];
}

function callersOf({ lists, router }: Facts): Caller[] {
  const { namespace } = router;
  // The API server gives every namespace this label; a namespace that does not exist yet will have it.
  const namespaceLabels = lists.routerNamespaces.items[0]?.metadata.labels ?? {
    'kubernetes.io/metadata.name': namespace,
  };
  const pods = lists.routerPods.items.map(({ metadata, status }) => ({
    namespace,
    namespaceLabels,
    labels: metadata.labels ?? {},
    ...(status?.podIP === undefined ? {} : { address: status.podIP }),
  }));
  return pods.length > 0 ? pods : [{ namespace, namespaceLabels, labels: router.labels }];
}

function judgeSubject(subject: Subject, candidates: readonly NetworkPolicy[], callers: readonly Caller[]): Verdict[] {
  const { object, namespace } = subject;
  const selecting = candidates.filter(({ spec }) => matchesLabels(spec.podSelector, subject.labels));
  const [first] = selecting;
  if (first === undefined)
    return [
      warning(
        object,
        'No NetworkPolicy restricts who reaches it: every pod of the cluster gets past the router and its checks.',
        `In namespace ${namespace}, create a NetworkPolicy with policyTypes [Ingress] that selects ${nameOf(object)} and lets in the router only.`,
      ),
    ];
  const port = subject.sandbox === undefined ? DEFAULT_PORT : projectSandbox(subject.sandbox).port;
  const shut = callers.flatMap((caller) => {
    const answers = selecting.map((policy) => judgeIngress(policy, caller, port, subject.spec));
    if (answers.includes('in')) return [];
    return [
      { caller, policy: selecting[Math.max(0, answers.indexOf('port'))] ?? first, why: answers.includes('port') },
    ];
  });
  return shut.slice(0, 1).map(({ caller, policy, why }) => shutOut(subject, policy, caller, port, why));
}

function shutOut(subject: Subject, policy: NetworkPolicy, caller: Caller, port: number, onlyPort: boolean): Verdict {
  const name = nameOf(referenceTo(policy));
  const who = `pods labelled ${labelText(caller.labels)} in namespace ${caller.namespace}`;
  const message = onlyPort
    ? `${name} lets the router in, but not to its port ${port}.`
    : `${name} keeps the router out: it lets in no ${who}.`;
  const peer = `namespaceSelector {kubernetes.io/metadata.name: ${caller.namespace}} with podSelector {${labelText(caller.labels)}}`;
  const fix = onlyPort
    ? `Add TCP port ${port} of ${nameOf(subject.object)} to the ingress rule of ${name}.`
    : `Add to ${name} an ingress rule from ${peer} to TCP port ${port}, or name the router with --router-namespace and --router-label.`;
  return failure(subject.object, message, fix);
}

/** Labels without the ones that ReplicaSets add. */
function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .filter(([key]) => key !== 'pod-template-hash')
    .map(([key, value]) => `${key}: ${value}`)
    .join(', ');
}

function noRouter({ router }: Facts): Verdict {
  const object = { kind: 'Namespace', name: router.namespace };
  return warning(
    object,
    `No pod labelled ${labelText(router.labels)} runs there: policies are judged for the router that would.`,
    `Deploy the router to ${nameOf(object)}, or say where it is with --router-namespace and --router-label.`,
  );
}
