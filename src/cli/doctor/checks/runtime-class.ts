import type { RuntimeClass } from '../../../kubernetes/index.ts';
import type { Check } from '../check.ts';
import { unreadLists } from '../check.ts';
import type { Facts } from '../facts.ts';
import { count, failure, nameOf, ok, referenceTo, skipped, type Verdict } from '../finding.ts';
import { type Faulty, findFaulty, GVISOR_RUNTIME_CLASS, livePods } from '../subjects.ts';

/** Names under which containerd and CRI-O know gVisor: `runsc`, GKE's `gvisor`, and variants such as `runsc-kvm`. */
const GVISOR_HANDLER = /^(runsc|gvisor)(-|$)/;

/** The engine runs pods of any class as it can, and its API does not tell how. */
const engineDecides = skipped(
  'The engine of "sandbox-router up" runs sandboxes under gVisor or as plain processes: its start says which.',
  'Start it with --runtime gvisor: it then does not start without.',
);

/** Whether sandboxed code runs under gVisor. */
export const runtimeClass: Check = {
  id: 'runtime-class',
  title: 'every sandbox runs under gVisor',
  needs: ['sandboxes', 'pods', 'runtimeClasses'],
  judge: (facts) => {
    const verdicts = [...judgeClass(facts), ...judgeUse(facts)];
    const fine = facts.server.isEngine
      ? engineDecides
      : ok(
          `${count(livePods(facts).length, 'sandbox pod')}, and all templates, use RuntimeClass ${GVISOR_RUNTIME_CLASS}.`,
        );
    return [...(verdicts.length === 0 ? [fine] : verdicts), ...unreadLists(facts, ['templates'], 'forbidden')];
  },
};

/** The class itself. The engine of `up` knows it without an object. */
export function judgeClass({ lists, server }: Facts): Verdict[] {
  const object = { kind: 'RuntimeClass', name: GVISOR_RUNTIME_CLASS };
  const found = lists.runtimeClasses.items.find(({ metadata }) => metadata.name === GVISOR_RUNTIME_CLASS);
  if (found === undefined)
    return server.isEngine
      ? []
      : [
          failure(
            object,
            'It does not exist, so no sandbox pod can start under gVisor.',
            `Install gVisor on the nodes and create ${nameOf(object)} with its handler (GKE: a node pool with --sandbox type=gvisor).`,
          ),
        ];
  return GVISOR_HANDLER.test(found.handler) ? [] : [wrongHandler(found)];
}

function wrongHandler(found: RuntimeClass): Verdict {
  const object = referenceTo(found);
  return failure(
    object,
    `Its handler is "${found.handler}", which is not gVisor's: sandboxes are not isolated by it.`,
    `Delete ${nameOf(object)} and create it again with the handler of gVisor, as the nodes' containerd names it (runsc or gvisor); a handler can't be changed.`,
  );
}

/** Who does not use it. */
export function judgeUse(facts: Facts): Verdict[] {
  return findFaulty(facts, ({ spec }) => spec.runtimeClassName !== GVISOR_RUNTIME_CLASS).map(withoutClass);
}

function withoutClass({ object, source }: Faulty): Verdict {
  const set = `spec.podTemplate.spec.runtimeClassName: ${GVISOR_RUNTIME_CLASS}`;
  const isPod = object.kind === 'Pod';
  const again = `delete ${nameOf(object)}: its Sandbox makes it again`;
  const fix =
    source === undefined
      ? `${again.charAt(0).toUpperCase()}${again.slice(1)} under gVisor.`
      : `Set ${set} in ${nameOf(source)}${isPod ? `, then ${again}` : ''}.`;
  return failure(object, isPod ? 'It does not run under gVisor.' : 'Pods made from it do not run under gVisor.', fix);
}
