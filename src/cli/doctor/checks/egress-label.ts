import { EGRESS_LABEL, type PodTemplate } from '../../../kubernetes/index.ts';
import type { Check } from '../check.ts';
import { unreadLists } from '../check.ts';
import { count, failure, nameOf, ok, type Verdict } from '../finding.ts';
import { type Faulty, findFaulty, livePods } from '../subjects.ts';

/** Whether every pod says what it may reach. */
export const egressLabel: Check = {
  id: 'egress-label',
  title: 'every sandbox pod carries its egress class',
  needs: ['sandboxes', 'pods'],
  judge: (facts) => {
    const faults = findFaulty(facts, lacksClass).map(withoutLabel);
    const fine = ok(`${count(livePods(facts).length, 'sandbox pod')}, and all templates, carry ${EGRESS_LABEL}.`);
    return [...(faults.length === 0 ? [fine] : faults), ...unreadLists(facts, ['templates'], 'forbidden')];
  },
};

function lacksClass({ metadata }: PodTemplate): boolean {
  return (metadata?.labels?.[EGRESS_LABEL] ?? '') === '';
}

function withoutLabel({ object, source }: Faulty): Verdict {
  const message =
    object.kind === 'Pod'
      ? `It carries no ${EGRESS_LABEL}: the router refuses to reach it.`
      : `Pods made from it carry no ${EGRESS_LABEL}: the router refuses to reach them.`;
  // The controller copies labels of the Sandbox to its Pod, so the Pod need not be made again.
  return failure(
    object,
    message,
    source === undefined
      ? `Label ${nameOf(object)}: ${EGRESS_LABEL}=none, restricted, internet, or a class of your own.`
      : `Set spec.podTemplate.metadata.labels["${EGRESS_LABEL}"] in ${nameOf(source)}: none, restricted, internet, or a class of your own.`,
  );
}
