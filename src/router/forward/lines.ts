import type { PodRecord, Route, RoutingTable } from '../table/index.ts';

/** What leads from clients to a port of a pod, as whoever follows the sleep of its sandbox sees it: a tunnel, or a pool of connections. */
export interface Line {
  /** Connections of clients that it stands for now. */
  count(): number;
  /** The sandbox is about to be paused: nothing more is to be sent to the pod. */
  hush(): void;
  /**
   * The pod is gone. `kept` tells that its memory and its address are: connections to it go on with whoever resumes it. `redial` tells that another pod may be
   * dialled once there is one. False if there is nothing that could wait.
   */
  sleep(how: Sleep): boolean;
  /** This pod goes on: what waited may be sent. */
  goOn(pod: PodRecord): void;
  /** No byte may go to the pod from now on. */
  cut(): void;
}

/** How connections wait for their sandbox. */
export type Sleep = 'kept' | 'redial';

/** Bounds of what sleeps. */
export interface SleepLimits {
  sleepingPerSandbox: number;
  sleepingTotal: number;
}

/** All lines of this process. */
export interface Lines {
  /** Follows a line until what it gives is called. A pod that is gone already cuts it at once. */
  add(line: Line, route: Route, pod: PodRecord): () => void;
  /** Connections of clients that sleep with their sandbox. */
  sleeping(): number;
  sleepingOf(namespace: string, name: string): number;
  /** Cuts everything. */
  close(): void;
}

/** The lines to one pod, or to one that is gone and may go on as another. */
interface Group {
  pod: PodRecord;
  route: Route;
  /** `hushed`: its sandbox is not to run, or does not yet. */
  state: 'awake' | 'hushed' | Sleep;
  /** The pod is new: it needs no word of its sandbox that a pause was called off. */
  resumed: boolean;
  lines: Set<Line>;
}

/**
 * Follows the table for all open lines. A connection belongs to one pod UID. It outlives it only where the API says that another pod goes on with the same memory at
 * the same address, which nobody had meanwhile: then it sleeps between both, and nothing is sent. Whatever else becomes of the pod cuts it.
 */
export function createLines(table: RoutingTable, limits: SleepLimits): Lines {
  const byPod = new Map<string, Group>();
  const bySandbox = new Map<string, Set<Group>>();
  /** Of lines that sleep at an address. */
  const byAddress = new Map<string, Group>();

  function remove(group: Group): void {
    const { namespace, name } = group.route.sandbox;
    byPod.delete(group.pod.uid);
    if (byAddress.get(group.pod.address) === group) byAddress.delete(group.pod.address);
    const siblings = bySandbox.get(`${namespace}/${name}`);
    siblings?.delete(group);
    if (siblings?.size === 0) bySandbox.delete(`${namespace}/${name}`);
  }

  function cut(group: Group): void {
    remove(group);
    for (const line of group.lines) line.cut();
  }

  function hush(group: Group): void {
    group.state = 'hushed';
    group.resumed = false;
    for (const line of group.lines) line.hush();
  }

  function goOn(group: Group, pod: PodRecord): void {
    group.state = 'awake';
    for (const line of group.lines) line.goOn(pod);
  }

  function moveTo(group: Group, pod: PodRecord): void {
    remove(group);
    group.pod = pod;
    enter(group);
  }

  function enter(group: Group): Group {
    const { namespace, name } = group.route.sandbox;
    const key = `${namespace}/${name}`;
    byPod.set(group.pod.uid, group);
    bySandbox.set(key, (bySandbox.get(key) ?? new Set()).add(group));
    return group;
  }

  function fallAsleep(group: Group, how: Sleep): void {
    const { namespace, name } = group.route.sandbox;
    if (group.state === 'awake') hush(group);
    let total = sleeping();
    let ofSandbox = sleepingOf(namespace, name);
    for (const line of group.lines) {
      const count = line.count();
      const fits = total + count <= limits.sleepingTotal && ofSandbox + count <= limits.sleepingPerSandbox;
      if (fits && line.sleep(how)) {
        total += count;
        ofSandbox += count;
        continue;
      }
      group.lines.delete(line);
      line.cut();
    }
    group.state = how;
    if (group.lines.size === 0) remove(group);
    else if (how === 'kept') byAddress.set(group.pod.address, group);
  }

  /** What the table says now leads a group where it belongs. */
  function follow(group: Group): void {
    const { route } = group;
    const { sandbox, pod } = route;
    if (group.state === 'awake') {
      if (!sandbox.running) hush(group);
      return;
    }
    if (group.state === 'kept' || group.state === 'redial') {
      if (pod === undefined || pod.uid === group.pod.uid) return;
      if (group.state === 'kept' && pod.resumes === group.pod.uid && pod.address === group.pod.address) {
        moveTo(group, pod);
        group.state = 'hushed';
        group.resumed = true;
      } else if (table.isRoutable(route)) {
        // Another start than the one that was slept towards. A handshake is made again only where the memory behind it is the same.
        if (group.state === 'kept' || !pod.restored || !sandbox.redials) cut(group);
        else {
          moveTo(group, pod);
          goOn(group, pod);
        }
        return;
      }
    }
    if (!sandbox.running) group.resumed = false;
    else if (pod?.uid === group.pod.uid && table.isRoutable(route)) {
      // A pod that is about to be paused is Ready until it is gone: that it stays, its sandbox must say.
      const stays = sandbox.ready && sandbox.readyGeneration >= sandbox.generation;
      if (group.resumed || stays) goOn(group, pod);
    }
  }

  table.onChange((namespace, name, route) => {
    if (byPod.size === 0) return;
    if (route?.pod !== undefined && byAddress.size > 0) {
      const group = byAddress.get(route.pod.address);
      if (group !== undefined && group.route !== route) cut(group);
    }
    for (const group of bySandbox.get(`${namespace}/${name}`) ?? [])
      if (route === group.route) follow(group);
      else if (group.state !== 'awake') cut(group);
  });

  table.onRetired((uid) => {
    const group = byPod.get(uid);
    if (group === undefined) return;
    const { pod, route } = group;
    if (pod.checkpointed && pod.ownsAddress) fallAsleep(group, 'kept');
    else if (!route.sandbox.running && route.sandbox.redials) fallAsleep(group, 'redial');
    else cut(group);
  });

  function sleeping(): number {
    let count = 0;
    for (const group of byPod.values()) count += sleepingIn(group);
    return count;
  }

  function sleepingOf(namespace: string, name: string): number {
    let count = 0;
    for (const group of bySandbox.get(`${namespace}/${name}`) ?? []) count += sleepingIn(group);
    return count;
  }

  return {
    add: (line, route, pod) => {
      const known = table.findPod(pod.uid);
      if (known === undefined) {
        line.cut();
        return () => {};
      }
      const group =
        byPod.get(pod.uid) ?? enter({ pod: known, route, state: 'awake', resumed: false, lines: new Set() });
      group.lines.add(line);
      if (group.state !== 'awake') line.hush();
      follow(group);
      return () => {
        group.lines.delete(line);
        if (group.lines.size === 0 && byPod.get(group.pod.uid) === group) remove(group);
      };
    },
    sleeping,
    sleepingOf,
    close: () => {
      for (const group of [...byPod.values()]) cut(group);
    },
  };
}

function sleepingIn({ state, lines }: Group): number {
  if (state !== 'kept' && state !== 'redial') return 0;
  let count = 0;
  for (const line of lines) count += line.count();
  return count;
}
