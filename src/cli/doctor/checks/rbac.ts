import type { Check } from '../check.ts';
import type { Facts, RightAnswer } from '../facts.ts';
import { failure, nameOf, ok, skipped, type Verdict, warning } from '../finding.ts';

/** Whether whoever asks may do what the router does. */
export const rbac: Check = {
  id: 'rbac',
  title: 'the caller has every right that the router needs',
  needs: [],
  judge: judgeRights,
};

/** Missing rights, one finding for each resource and purpose. Speaks of the caller: run it with the router's own credential to judge the router. */
export function judgeRights({ rights, namespace, router }: Facts): Verdict[] {
  if (rights.every(({ allowed }) => allowed === undefined))
    return [
      skipped(
        'The right to create selfsubjectaccessreviews.authorization.k8s.io is missing.',
        'Bind the ClusterRole system:basic-user to whoever runs doctor.',
      ),
    ];
  const missing = rights.filter(({ allowed }) => allowed === false);
  if (missing.length === 0)
    return [
      ok(
        'Whoever runs this may do all that the router needs; run it with the ServiceAccount of the router to be sure.',
      ),
    ];
  const groups = Map.groupBy(missing, ({ right }) => `${right.group}/${right.resource}: ${right.purpose}`);
  return [...groups.values()].map((group) => judgeMissing(group, namespace, router.namespace));
}

function judgeMissing(
  missing: readonly RightAnswer[],
  namespace: string | undefined,
  routerNamespace: string,
): Verdict {
  const [first] = missing;
  if (first === undefined) throw new TypeError('a group is never empty');
  const { group, resource, purpose, role, required, scope } = first.right;
  const verbs = missing.map(({ right }) => right.verb);
  const sandboxScope = namespace === undefined ? 'all namespaces' : `namespace ${namespace}`;
  const where = scope === 'router' ? `namespace ${routerNamespace}` : sandboxScope;
  return (required ? failure : warning)(
    role,
    `May not ${verbs.join(' or ')} ${resource} in ${where}, so the router could not ${purpose}.`,
    `Bind ${nameOf(role)} to the ServiceAccount of the router, with the rule apiGroups ["${group}"], resources ["${resource}"], verbs ${JSON.stringify(verbs)}.`,
  );
}
