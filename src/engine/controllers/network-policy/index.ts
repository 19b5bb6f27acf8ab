import {
  EGRESS_LABEL,
  EGRESS_NAMES_ANNOTATION,
  NAMESPACES,
  type Namespace,
  NETWORK_POLICIES,
  type NetworkPolicy,
  PODS,
  type Pod,
  type ResourceClient,
  SERVICES,
  type Service,
} from '../../../kubernetes/index.ts';
import {
  type DnsClient,
  type EgressName,
  type PlacedRules,
  parseEgressNames,
  type SandboxFirewall,
  type SandboxNetwork,
  type SandboxRules,
} from '../../network/index.ts';
import type { ContainerIds } from '../../runtime/index.ts';
import { createEventRecorder } from '../events.ts';
import { createObjectCache } from '../object-cache.ts';
import { type PolicyPod, rulesOf } from './resolve.ts';
import { serviceAddresses } from './services.ts';

/** What the controller of NetworkPolicies needs. */
export interface PolicyControllerOptions {
  client: ResourceClient;
  network: SandboxNetwork;
  containers: ContainerIds;
  /** Address of the DNS proxy. */
  gateway: string;
  /** Called before the first rule that lets something out. @throws Error that says what to do */
  enableForwarding(): void;
  now?: () => Date;
  failed(what: string, error: unknown): void;
}

/** A running controller of NetworkPolicies; it also knows what the DNS proxy asks. */
export interface PolicyController {
  synced: Promise<void>;
  clientAt(address: string): DnsClient | undefined;
  /** Addresses of a Service's name without the cluster's domain. */
  serviceAddresses(name: string): string[] | undefined;
  /** Hands the rules to a firewall, now and after every change. Resolves when they are in effect for the first time. */
  enforce(firewall: SandboxFirewall): Promise<void>;
  close(): Promise<void>;
}

/** Egress classes that promise that nothing on the internet is reached, by which name ever. */
const CLASSES_WITHOUT_NAMES = ['none', 'restricted'];
/** A container that starts needs the processor more than its rules, without which it reaches nothing: it sends nothing yet for a multiple of this. */
const ATTACHED_MS = 15;
/** First and longest wait before rules that nftables did not take are tried again. */
const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 10_000;

/** NetworkPolicies, Pods and Namespaces → rules of the sandboxes that are on this machine. */
export function startPolicyController(options: PolicyControllerOptions): PolicyController {
  const { client, network, containers, gateway, failed, now = () => new Date() } = options;
  const events = createEventRecorder(client, 'sandbox-router-network-policy', now, failed);
  const changed = () => schedule(0);
  const watching = (what: string) => (error: unknown) => failed(`watching ${what}`, error);
  const policies = createObjectCache<NetworkPolicy>(client, NETWORK_POLICIES, changed, watching('networkpolicies'));
  const pods = createObjectCache<Pod>(client, PODS, podChanged, watching('pods'));
  const namespaces = createObjectCache<Namespace>(client, NAMESPACES, changed, watching('namespaces'));
  const services = createObjectCache<Service>(client, SERVICES, () => {}, watching('services'));
  const caches = [policies, pods, namespaces, services];
  /** Lists of names by their text, so that equal ones are read once; undefined for those that can't be read. */
  const readNames = new Map<string, EgressName[]>();
  const complained = new Set<string>();
  let clients = new Map<string, DnsClient>();
  let firewall: SandboxFirewall | undefined;
  let timer: NodeJS.Timeout | undefined;
  let underway: Promise<void> | undefined;
  let again = false;
  let failures = 0;
  let forwarding = false;
  let closed = false;
  network.onChange(() => schedule(ATTACHED_MS));

  function podChanged(after: Pod | undefined, before: Pod | undefined): void {
    // A status that changes says nothing about rules, save where the Pod's sandbox is.
    if (after !== undefined && before !== undefined && sameForPolicies(after, before)) return;
    if (after === undefined) complained.delete(before?.metadata.uid ?? '');
    changed();
  }

  function schedule(delayMs: number): void {
    if (closed || firewall === undefined) return;
    if (underway !== undefined) {
      again = true;
      return;
    }
    if (timer !== undefined && delayMs > 0) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = undefined;
      underway = pass().finally(() => {
        underway = undefined;
        if (!again) return;
        again = false;
        schedule(0);
      });
    }, delayMs);
  }

  async function pass(): Promise<void> {
    try {
      await applyRules();
      failures = 0;
    } catch (error) {
      failed('network policies', error);
      const delayMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures++);
      setTimeout(() => schedule(0), delayMs).unref();
    }
  }

  async function applyRules(): Promise<void> {
    const attached = network.attachments();
    const placed = [...pods.values()].flatMap((pod) => {
      const id = containers.of(pod.metadata.uid ?? '');
      const address = attached.get(id);
      return address === undefined ? [] : [{ pod, id, seen: policyPodOf(pod, address) }];
    });
    const world = {
      policies: [...policies.values()],
      pods: placed.map(({ seen }) => seen),
      namespaceLabels: (name: string) => ({
        ...namespaces.get(`/${name}`)?.metadata.labels,
        'kubernetes.io/metadata.name': name,
      }),
    };
    const sandboxes = new Map<string, PlacedRules>();
    const asking = new Map<string, DnsClient>();
    for (const { pod, id, seen } of placed) {
      const rules = rulesOf(seen, namesOf(pod), world, gateway);
      sandboxes.set(id, { address: seen.address, rules });
      asking.set(seen.address, { id, names: rules.names, resolvesAnyName: rules.resolvesAnyName });
    }
    if (!forwarding && [...sandboxes.values()].some(({ rules }) => letsOut(rules))) {
      options.enableForwarding();
      forwarding = true;
    }
    // Who may ask for fewer names now hears no more of the others before the rules are written.
    clients = asking;
    await firewall?.apply(sandboxes);
  }

  function namesOf(pod: Pod): EgressName[] {
    const text = pod.metadata.annotations?.[EGRESS_NAMES_ANNOTATION];
    if (text === undefined) return [];
    const egressClass = pod.metadata.labels?.[EGRESS_LABEL] ?? '';
    if (CLASSES_WITHOUT_NAMES.includes(egressClass)) {
      complain(pod, 'EgressNamesIgnored', `egress class ${egressClass} promises more than names would keep`);
      return [];
    }
    const known = readNames.get(text);
    if (known !== undefined) return known;
    try {
      const names = parseEgressNames(text);
      if (readNames.size > 1000) readNames.clear();
      readNames.set(text, names);
      return names;
    } catch (error) {
      complain(pod, 'EgressNamesInvalid', (error as Error).message);
      return [];
    }
  }

  /** Once for each Pod. */
  function complain(pod: Pod, reason: string, problem: string): void {
    const uid = pod.metadata.uid ?? '';
    if (complained.has(uid)) return;
    complained.add(uid);
    events.warn(pod, reason, `annotation ${EGRESS_NAMES_ANNOTATION}: ${problem}. No name is allowed.`);
  }

  const synced = Promise.all(caches.map((cache) => cache.synced)).then(() => {});
  synced.catch(() => {});
  return {
    synced,
    clientAt: (address) => clients.get(address),
    serviceAddresses: (name) =>
      serviceAddresses(name, {
        service: services.get,
        pods: pods.values,
        addressOf: (pod) => network.attachments().get(containers.of(pod.metadata.uid ?? '')),
      }),
    enforce: async (wall) => {
      await synced;
      firewall = wall;
      await applyRules();
    },
    close: async () => {
      closed = true;
      clearTimeout(timer);
      for (const cache of caches) cache.close();
      await underway;
    },
  };
}

function policyPodOf(pod: Pod, address: string): PolicyPod {
  return {
    namespace: pod.metadata.namespace ?? '',
    labels: pod.metadata.labels ?? {},
    address,
    ports: pod.spec.containers.flatMap(({ ports }) => ports ?? []),
  };
}

function sameForPolicies(after: Pod, before: Pod): boolean {
  const relevant = ({ metadata }: Pod) =>
    JSON.stringify([metadata.uid, metadata.labels, metadata.annotations?.[EGRESS_NAMES_ANNOTATION]]);
  return relevant(after) === relevant(before);
}

function letsOut({ egress, names }: SandboxRules): boolean {
  return egress.length > 0 || names.length > 0;
}
