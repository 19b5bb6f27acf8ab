import { matchesLabels, type Pod, type Service } from '../../../kubernetes/index.ts';

/** Where names of Services are looked up. */
export interface ServiceLookup {
  service(key: string): Service | undefined;
  pods(): Iterable<Pod>;
  /** Address that a Pod has on the sandbox network now. */
  addressOf(pod: Pod): string | undefined;
}

/**
 * Addresses for `<service>.<namespace>`, or for `<hostname>.<service>.<namespace>` of one Pod in it: those of Ready Pods, or of all where the Service publishes
 * them. Undefined where there is no such name. Services of the engine have no address of their own: every one answers like a headless one.
 */
export function serviceAddresses(name: string, lookup: ServiceLookup): string[] | undefined {
  const labels = name.split('.');
  const [serviceName = '', namespace = ''] = labels.slice(-2);
  const hostname = labels.length === 3 ? labels[0] : undefined;
  if (labels.length < 2 || labels.length > 3) return undefined;
  const service = lookup.service(`${namespace}/${serviceName}`);
  const { selector, publishNotReadyAddresses } = (service?.spec ?? {}) as Service['spec'] & {
    publishNotReadyAddresses?: boolean;
  };
  if (service === undefined) return undefined;
  const found: string[] = [];
  for (const pod of lookup.pods()) {
    if (selector === undefined || Object.keys(selector).length === 0) break;
    if (pod.metadata.namespace !== namespace || pod.metadata.deletionTimestamp !== undefined) continue;
    if (!matchesLabels({ matchLabels: selector }, pod.metadata.labels ?? {})) continue;
    if (hostname !== undefined && hostname !== (pod.spec.hostname ?? pod.metadata.name)) continue;
    const address = lookup.addressOf(pod);
    if (address !== undefined && (publishNotReadyAddresses === true || isReady(pod))) found.push(address);
  }
  return hostname !== undefined && found.length === 0 ? undefined : found;
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
}
