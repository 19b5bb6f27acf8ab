import { matchesLabels, type Node, type RuntimeClass } from '../../../kubernetes/index.ts';
import { judgePoolRoom } from '../capacity.ts';
import type { Check } from '../check.ts';
import { unreadLists } from '../check.ts';
import type { Facts } from '../facts.ts';
import { count, failure, nameOf, ok, referenceTo, type Verdict, warning } from '../finding.ts';
import { describeIdleSavings } from '../idle-savings.ts';
import { describeResources, resourcesOf, sumResources } from '../quantity.ts';
import { GVISOR_RUNTIME_CLASS } from '../subjects.ts';

/** Label of GKE's node pools with gVisor. */
const GVISOR_NODE_LABELS = { 'sandbox.gke.io/runtime': 'gvisor' };
const ARCHITECTURE_LABEL = 'kubernetes.io/arch';
const CLASS = { kind: 'RuntimeClass', name: GVISOR_RUNTIME_CLASS };

/** Whether there are nodes for sandboxes, and enough of them. */
export const nodePools: Check = {
  id: 'node-pools',
  title: 'nodes can run gVisor and hold the warm pools',
  needs: ['nodes', 'runtimeClasses', 'sandboxes', 'pods'],
  notForEngine: 'The engine of "sandbox-router up" runs sandboxes on its own machine.',
  judge: (facts) => [...judgeNodes(facts), ...unreadLists(facts, ['pools', 'templates'], 'forbidden')],
};

/** Nodes first, then what the pools ask of them, then what pausing gives back. */
export function judgeNodes(facts: Facts): Verdict[] {
  const nodes = facts.lists.nodes.items;
  const runtime = facts.lists.runtimeClasses.items.find(({ metadata }) => metadata.name === GVISOR_RUNTIME_CLASS);
  const selector = runtime?.scheduling?.nodeSelector;
  const labels = selector ?? GVISOR_NODE_LABELS;
  const labelled = nodes.filter((node) => matchesLabels({ matchLabels: labels }, node.metadata.labels ?? {}));
  // Where nothing says which nodes have gVisor, all may have it.
  const able = selector === undefined && labelled.length === 0 ? nodes : labelled;
  const usable = able.filter((node) => isReady(node) && node.spec?.unschedulable !== true);
  if (usable.length === 0) return [noNode(able, labels)];
  const faults = [
    ...judgeSteering(runtime, nodes.length === labelled.length),
    ...judgeArchitectures(usable),
    ...able.filter((node) => !isReady(node)).map(notReady),
  ];
  const room = describeResources(sumResources(usable.map(({ status }) => resourcesOf(status?.allocatable))));
  return [
    ...(faults.length > 0 ? faults : [ok(`${count(usable.length, 'node')} can run gVisor, with ${room}.`)]),
    ...facts.lists.pools.items.flatMap((pool) => judgePoolRoom(facts, pool, usable, runtime)),
    ok(describeIdleSavings(facts, runtime)),
  ];
}

function noNode(able: readonly Node[], labels: Readonly<Record<string, string>>): Verdict {
  const text = labelText(labels);
  const [first] = able;
  return first === undefined
    ? failure(
        CLASS,
        `No node carries ${text}, so no sandbox pod can be scheduled.`,
        `Add a node pool with gVisor whose nodes carry ${text} (GKE: --sandbox type=gvisor), as ${nameOf(CLASS)} asks.`,
      )
    : failure(
        referenceTo(first),
        `No node with gVisor takes pods: ${able.length === 1 ? 'it is' : `all ${able.length} are`} not Ready, or cordoned.`,
        `Bring ${nameOf(referenceTo(first))} back (kubectl describe node ${first.metadata.name}; kubectl uncordon ${first.metadata.name}), or add nodes.`,
      );
}

function judgeSteering(runtime: RuntimeClass | undefined, everyNodeHasIt: boolean): Verdict[] {
  if (runtime === undefined || runtime.scheduling?.nodeSelector !== undefined || everyNodeHasIt) return [];
  return [
    warning(
      CLASS,
      'It does not say which nodes have gVisor: pods may be scheduled where they can not start.',
      `Set scheduling.nodeSelector in ${nameOf(CLASS)} to a label that only nodes with gVisor carry.`,
    ),
  ];
}

function judgeArchitectures(usable: readonly Node[]): Verdict[] {
  const groups = Map.groupBy(usable, architectureOf);
  if (groups.size < 2) return [];
  const mix = [...groups].map(([architecture, { length }]) => `${length} ${architecture}`).join(', ');
  const [first] = groups.keys();
  return [
    warning(
      CLASS,
      `Its nodes are of several architectures (${mix}): a snapshot taken on one can't be restored on another.`,
      `Add ${ARCHITECTURE_LABEL}: ${first} to scheduling.nodeSelector of ${nameOf(CLASS)}, or keep one architecture in its node pools.`,
    ),
  ];
}

function notReady(node: Node): Verdict {
  const object = referenceTo(node);
  return warning(
    object,
    'It can run gVisor but is not Ready.',
    `See why (kubectl describe node ${object.name}) and repair or remove ${nameOf(object)}.`,
  );
}

function isReady({ status }: Node): boolean {
  return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;
}

function architectureOf({ metadata, status }: Node): string {
  return metadata.labels?.[ARCHITECTURE_LABEL] ?? status?.nodeInfo?.architecture ?? 'unknown';
}

function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}
