import type { PodRecord, Route, SandboxRecord } from './records.ts';

/** Told of each change of a sandbox's route; `route` is undefined once the sandbox is gone. */
export type RouteListener = (namespace: string, name: string, route: Route | undefined) => void;

/** What a replacement removed. */
export interface Removed {
  sandboxes: { namespace: string; name: string; uid: string }[];
  /** UIDs. */
  pods: string[];
}

/** Names → sandboxes → pods. Pure data: fed from outside, asked on every request. */
export interface RoutingTable {
  find(namespace: string, name: string): Route | undefined;
  /** The pod's address if it may be sent requests now: ready, not terminating, and nobody newer has its address. */
  isRoutable(route: Route): boolean;
  routes(): Iterable<Route>;
  /** The record of a pod, whichever sandbox it belongs to. */
  findPod(uid: string): PodRecord | undefined;
  pods(): Iterable<PodRecord>;
  size(): number;
  upsertSandbox(record: SandboxRecord): void;
  deleteSandbox(namespace: string, name: string, uid: string): void;
  upsertPod(record: PodRecord): void;
  deletePod(uid: string): void;
  /** A dial of this port failed: nobody need ask again before `quietUntilMs` (monotonic), and one at a time after that. A fresh record of the pod clears it. */
  suspect(podUid: string, port: number, quietUntilMs: number): void;
  /** The port accepted a connection. */
  trust(podUid: string, port: number): void;
  /** Pods with a suspect port. */
  suspectCount(): number;
  /** From now on, use that others report and pods that take the place of others are news, dated by this monotonic clock; before, they are just what was there. */
  expectNews(now: () => number): void;
  /** Between both: what is not upserted again is deleted; of one namespace, or of all without it. The end tells what that was. */
  beginReplace(kind: 'sandboxes' | 'pods', namespace?: string): void;
  endReplace(kind: 'sandboxes' | 'pods', namespace?: string): Removed;
  onChange(listener: RouteListener): () => void;
  /** Told the UID of each pod whose connections must not be used any more: it is gone, or its address is another's. */
  onRetired(listener: (podUid: string) => void): () => void;
}

/** An empty table. */
export function createRoutingTable(): RoutingTable {
  const byNamespace = new Map<string, Map<string, Route>>();
  const bySandboxUid = new Map<string, Route>();
  const pods = new Map<string, PodRecord>();
  /** Mostly one each: a list takes a fifth of a set's memory. */
  const podsBySandbox = new Map<string, PodRecord[]>();
  /** Who owns an address: of two pods that claim one, the younger. */
  const byAddress = new Map<string, PodRecord>();
  /** Addresses that more than one pod claimed, with all claimants: rare, so that nobody else pays for it. */
  const contested = new Map<string, Set<PodRecord>>();
  const suspects = new Set<PodRecord>();
  /** Dates what is heard; 0 while that is no news. */
  let heardMs = () => 0;
  const listeners = new Set<RouteListener>();
  const retiredListeners = new Set<(podUid: string) => void>();
  /** Replacements under way, by kind and namespace: keys not seen again yet. */
  const replacements = new Map<string, Set<string>>();

  function seen(kind: string, key: string): void {
    if (replacements.size === 0) return;
    for (const [scope, keys] of replacements) if (scope.startsWith(kind)) keys.delete(key);
  }

  function retire(uid: string): void {
    for (const listener of retiredListeners) listener(uid);
  }

  function changed(route: Route): void {
    for (const listener of listeners) listener(route.sandbox.namespace, route.sandbox.name, route);
  }

  /** The one pod that speaks for a sandbox: a live one before a terminating one, then ready, then the younger. */
  function choosePod(sandboxUid: string): PodRecord | undefined {
    let chosen: PodRecord | undefined;
    for (const pod of podsBySandbox.get(sandboxUid) ?? [])
      if (chosen === undefined || rank(pod) > rank(chosen)) chosen = pod;
    return chosen;
  }

  function refresh(sandboxUid: string): void {
    const route = bySandboxUid.get(sandboxUid);
    if (route === undefined) return;
    const before = route.pod;
    route.pod = choosePod(sandboxUid);
    if (route.pod !== undefined && route.pod.uid !== before?.uid) route.activity.heardMs = heardMs();
    changed(route);
  }

  function claimAddress(pod: PodRecord): void {
    if (pod.address === '') return;
    const holder = byAddress.get(pod.address);
    if (holder !== undefined && holder.uid !== pod.uid) {
      const claimants = contested.get(pod.address) ?? new Set();
      contested.set(pod.address, claimants.add(holder).add(pod));
    }
    if (holder === undefined || holder.uid === pod.uid || holder.createdAtMs <= pod.createdAtMs) {
      byAddress.set(pod.address, pod);
      pod.ownsAddress = true;
      if (holder !== undefined && holder.uid !== pod.uid) {
        holder.ownsAddress = false;
        retire(holder.uid);
        refresh(holder.sandboxUid);
      }
    }
  }

  function releaseAddress(pod: PodRecord): void {
    const claimants = contested.get(pod.address);
    if (byAddress.get(pod.address)?.uid === pod.uid) byAddress.delete(pod.address);
    pod.ownsAddress = false;
    if (claimants === undefined) return;
    contested.delete(pod.address);
    for (const { uid } of claimants) {
      const other = pods.get(uid);
      if (other?.address === pod.address && uid !== pod.uid) {
        claimAddress(other);
        refresh(other.sandboxUid);
      }
    }
  }

  /** Takes the place of an earlier record of the same pod. Keys stay: a map that loses and gains them all the time is rebuilt at every so many. */
  function joinSandbox(pod: PodRecord): void {
    const siblings = podsBySandbox.get(pod.sandboxUid);
    if (siblings === undefined) {
      podsBySandbox.set(pod.sandboxUid, [pod]);
      return;
    }
    const index = siblings.findIndex(({ uid }) => uid === pod.uid);
    if (index < 0) siblings.push(pod);
    else siblings[index] = pod;
  }

  function leaveSandbox(pod: PodRecord): void {
    const others = podsBySandbox.get(pod.sandboxUid)?.filter((sibling) => sibling !== pod) ?? [];
    if (others.length === 0) podsBySandbox.delete(pod.sandboxUid);
    else podsBySandbox.set(pod.sandboxUid, others);
  }

  function removePod(uid: string): void {
    const pod = pods.get(uid);
    if (pod === undefined) return;
    pods.delete(uid);
    suspects.delete(pod);
    leaveSandbox(pod);
    retire(uid);
    releaseAddress(pod);
    refresh(pod.sandboxUid);
  }

  function removeSandbox(namespace: string, name: string): void {
    const names = byNamespace.get(namespace);
    const route = names?.get(name);
    if (names === undefined || route === undefined) return;
    names.delete(name);
    if (names.size === 0) byNamespace.delete(namespace);
    bySandboxUid.delete(route.sandbox.uid);
    for (const listener of listeners) listener(namespace, name, undefined);
  }

  return {
    find: (namespace, name) => byNamespace.get(namespace)?.get(name),
    isRoutable: ({ sandbox, pod }) =>
      pod !== undefined &&
      sandbox.running &&
      pod.ready &&
      !pod.terminating &&
      !pod.hostNetwork &&
      !sandbox.pooled &&
      pod.ownsAddress,
    routes: function* () {
      for (const names of byNamespace.values()) yield* names.values();
    },
    size: () => bySandboxUid.size,
    suspect: (podUid, port, quietUntilMs) => {
      const pod = pods.get(podUid);
      if (pod === undefined) return;
      pod.suspectPorts ??= new Map();
      pod.suspectPorts.set(port, quietUntilMs);
      suspects.add(pod);
    },
    trust: (podUid, port) => {
      const pod = pods.get(podUid);
      if (!pod?.suspectPorts?.delete(port) || pod.suspectPorts.size > 0) return;
      pod.suspectPorts = undefined;
      suspects.delete(pod);
    },
    suspectCount: () => suspects.size,
    expectNews: (now) => {
      heardMs = now;
    },
    findPod: (uid) => pods.get(uid),
    pods: () => pods.values(),

    upsertSandbox: (sandbox) => {
      seen('sandboxes', `${sandbox.namespace}/${sandbox.name}`);
      let names = byNamespace.get(sandbox.namespace);
      if (names === undefined) {
        names = new Map();
        byNamespace.set(sandbox.namespace, names);
      }
      const before = names.get(sandbox.name);
      if (before !== undefined && before.sandbox.uid !== sandbox.uid) removeSandbox(sandbox.namespace, sandbox.name);
      const route =
        before?.sandbox.uid === sandbox.uid
          ? before
          : {
              sandbox,
              pod: choosePod(sandbox.uid),
              activity: {
                inFlight: 0,
                quiet: 0,
                lastMs: 0,
                heardMs: 0,
                cpuMs: 0,
                reportedMs: 0,
                listed: false,
                usedBy: undefined,
              },
              pausing: undefined,
            };
      // Told by another router: what this one told itself is in its record already.
      if (route.sandbox.reportedActiveMs !== sandbox.reportedActiveMs) {
        route.activity.heardMs = heardMs();
        route.activity.reportedMs = route.activity.heardMs;
      }
      route.sandbox = sandbox;
      byNamespace.set(sandbox.namespace, names);
      names.set(sandbox.name, route);
      bySandboxUid.set(sandbox.uid, route);
      changed(route);
    },
    deleteSandbox: (namespace, name, uid) => {
      if (byNamespace.get(namespace)?.get(name)?.sandbox.uid === uid) removeSandbox(namespace, name);
    },
    upsertPod: (pod) => {
      seen('pods', pod.uid);
      const before = pods.get(pod.uid);
      if (before !== undefined) suspects.delete(before);
      if (before !== undefined && isSamePlace(before, pod)) {
        before.suspectPorts = undefined;
        before.ready = pod.ready;
        before.terminating = pod.terminating;
        before.runtimeClass = pod.runtimeClass;
        before.egressClass = pod.egressClass;
        before.faults = pod.faults;
        before.busy = pod.busy;
        if (before.cpuActiveAtMs !== pod.cpuActiveAtMs) {
          before.cpuActiveAtMs = pod.cpuActiveAtMs;
          const route = bySandboxUid.get(before.sandboxUid);
          if (route !== undefined) route.activity.cpuMs = heardMs();
        }
        before.checkpointed = pod.checkpointed;
        before.resumes = pod.resumes;
        before.restored = pod.restored;
        if (!before.ownsAddress) claimAddress(before);
        refresh(before.sandboxUid);
        return;
      }
      if (before !== undefined) {
        if (before.sandboxUid !== pod.sandboxUid) {
          // Another sandbox's from now on: whoever was connected through the earlier one is so no more.
          leaveSandbox(before);
          retire(before.uid);
          refresh(before.sandboxUid);
        }
        if (before.address !== '') {
          if (before.address !== pod.address) retire(before.uid);
          // Also where only its age is another: whoever claims the same address is asked again.
          releaseAddress(before);
        }
      }
      pod.sandboxUid = bySandboxUid.get(pod.sandboxUid)?.sandbox.uid ?? pod.sandboxUid;
      joinSandbox(pod);
      pods.set(pod.uid, pod);
      claimAddress(pod);
      refresh(pod.sandboxUid);
    },
    deletePod: removePod,
    beginReplace: (kind, namespace) => {
      const keys = new Set<string>();
      const inScope = (record: { namespace: string }) => namespace === undefined || record.namespace === namespace;
      if (kind === 'pods') {
        for (const pod of pods.values()) if (inScope(pod)) keys.add(pod.uid);
      } else {
        for (const { sandbox } of bySandboxUid.values())
          if (inScope(sandbox)) keys.add(`${sandbox.namespace}/${sandbox.name}`);
      }
      replacements.set(`${kind}/${namespace ?? ''}`, keys);
    },
    endReplace: (kind, namespace) => {
      const scope = `${kind}/${namespace ?? ''}`;
      const keys = replacements.get(scope) ?? [];
      replacements.delete(scope);
      const removed: Removed = { sandboxes: [], pods: [] };
      for (const key of keys) {
        if (kind === 'pods') {
          removed.pods.push(key);
          removePod(key);
          continue;
        }
        const slash = key.indexOf('/');
        const [ofNamespace, name] = [key.slice(0, slash), key.slice(slash + 1)];
        const route = byNamespace.get(ofNamespace)?.get(name);
        if (route === undefined) continue;
        removed.sandboxes.push({ namespace: ofNamespace, name, uid: route.sandbox.uid });
        removeSandbox(ofNamespace, name);
      }
      return removed;
    },
    onRetired: (listener) => {
      retiredListeners.add(listener);
      return () => retiredListeners.delete(listener);
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/**
 * Whether only the state of a pod changed. Then its record stays and is changed itself: a busy cluster sends thousands of such changes a second, and
 * records that come and go at that rate are what the garbage collector stops for.
 */
function isSamePlace(before: PodRecord, after: PodRecord): boolean {
  return (
    before.address === after.address &&
    before.sandboxUid === after.sandboxUid &&
    before.createdAtMs === after.createdAtMs &&
    before.hostNetwork === after.hostNetwork
  );
}

function rank(pod: PodRecord): number {
  return (pod.terminating ? 0 : 2e15) + (pod.ready ? 1e15 : 0) + pod.createdAtMs;
}
