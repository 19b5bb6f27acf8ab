import type { Check } from '../check.ts';
import type { Facts, RightAnswer } from '../facts.ts';
import { failure, nameOf, ok, skipped, type Verdict, warning } from '../finding.ts';

/** Whether the router may do what it does. */
export const rbac: Check = {
  id: 'rbac',
  title: 'the router has every right that it needs',
  needs: [],
  judge: judgeRights,
};

/** Missing rights, one finding for each resource and purpose. */
export function judgeRights({ rights: { of, answers }, namespace, router }: Facts): Verdict[] {
  if (answers.every(({ allowed }) => allowed === undefined))
    return [
      skipped(
        'The right to create selfsubjectaccessreviews.authorization.k8s.io is missing.',
        'Bind the ClusterRole system:basic-user to whoever runs doctor.',
      ),
    ];
  const missing = answers.filter(({ allowed }) => allowed === false);
  if (missing.length === 0)
    return [
      ok(
        of === undefined
          ? 'Whoever runs this may do all that the router needs; the rights of the router itself could not be asked for.'
          : `${of} may do all that the router needs.`,
      ),
    ];
  const groups = Map.groupBy(missing, ({ right }) => `${right.group}/${right.resource}: ${right.purpose}`);
  return [...groups.values()].map((group) => judgeMissing(group, of, namespace, router.namespace));
}

function judgeMissing(
  missing: readonly RightAnswer[],
  of: string | undefined,
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
    `${of ?? 'Whoever runs this'} may not ${verbs.join(' or ')} ${resource} in ${where}: the router could not ${purpose}.`,
    `Bind ${nameOf(role)} to ${of ?? 'the ServiceAccount of the router'}, with the rule apiGroups ["${group}"], resources ["${resource}"], verbs ${JSON.stringify(verbs)}.`,
  );
}
