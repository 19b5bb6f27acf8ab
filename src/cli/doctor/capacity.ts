import { type Node, parseQuantity, type RuntimeClass, type SandboxWarmPool } from '../../kubernetes/index.ts';
import type { Facts } from './facts.ts';
import { count, nameOf, ok, referenceTo, type Verdict, warning } from './finding.ts';
import { describeResources, type Resources, requestsOf, resourcesOf } from './quantity.ts';

/** How many sandboxes of a pool a node holds, and whether all the nodes hold the pool. A pool whose template is missing is another check's. */
export function judgePoolRoom(
  { lists }: Facts,
  pool: SandboxWarmPool,
  nodes: readonly Node[],
  runtimeClass: RuntimeClass | undefined,
): Verdict[] {
  const { namespace } = pool.metadata;
  const template = lists.templates.items.find(
    ({ metadata }) => metadata.name === pool.spec.sandboxTemplateRef.name && metadata.namespace === namespace,
  );
  if (template === undefined) return [];
  const object = referenceTo(pool);
  const own = requestsOf(template.spec.podTemplate.spec, undefined);
  if (own.cpuCores === 0 || own.memoryBytes === 0) {
    const missing = own.cpuCores === 0 ? 'cpu' : 'memory';
    return [
      warning(
        referenceTo(template),
        `Its containers request no ${missing}: nodes are filled without end, and nobody can tell how many sandboxes fit.`,
        `Set resources.requests.${missing} for the containers of ${nameOf(referenceTo(template))}.`,
      ),
    ];
  }
  const request = requestsOf(template.spec.podTemplate.spec, runtimeClass);
  const perNode = nodes.map((node) => sandboxesOn(node, request));
  const total = perNode.reduce((sum, amount) => sum + amount, 0);
  const wanted = pool.spec.replicas ?? 1;
  const each = `${describeResources(request)} each`;
  if (total < wanted)
    return [
      warning(
        object,
        `It wants ${count(wanted, 'sandbox', 'sandboxes')} of ${each}, but ${count(nodes.length, 'node')} with gVisor ${nodes.length === 1 ? 'holds' : 'hold'} ${total}.`,
        `Add nodes with gVisor (an autoscaler may do so), lower spec.replicas of ${nameOf(object)}, or lower the requests of ${nameOf(referenceTo(template))}.`,
      ),
    ];
  const [least, most] = [Math.min(...perNode), Math.max(...perNode)];
  const range = least === most ? `${most}` : `${least} to ${most}`;
  return [ok(`${nameOf(object)}: ${each}, so ${range} on a node and ${total} on all, of which it wants ${wanted}.`)];
}

/** Sandboxes that an empty node holds: by CPU, memory and the number of pods, whichever ends first. */
export function sandboxesOn({ status }: Node, request: Resources): number {
  const { cpuCores, memoryBytes } = resourcesOf(status?.allocatable);
  const pods = parseQuantity(status?.allocatable?.pods) ?? Number.POSITIVE_INFINITY;
  // Decimal fractions of cores: 3.92 / 0.28 must be 14.
  const fits = (room: number, each: number) => (each === 0 ? Number.POSITIVE_INFINITY : Math.floor(room / each + 1e-9));
  return Math.min(fits(cpuCores, request.cpuCores), fits(memoryBytes, request.memoryBytes), pods);
}
