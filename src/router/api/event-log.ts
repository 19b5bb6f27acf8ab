import type { Route, RoutingTable } from '../table/index.ts';
import { type SandboxState, stateOf } from './sandbox-view.ts';

/** What became of a sandbox. `claimed`: it left its warm pool. */
export type SandboxEventType =
  | 'created'
  | 'claimed'
  | 'starting'
  | 'running'
  | 'pausing'
  | 'paused'
  | 'waking'
  | 'finished'
  | 'deleted';

/** One change of one sandbox. */
export interface SandboxEvent {
  /** Where in the log of this router it stands: what `Last-Event-ID` takes. */
  id: string;
  time: string;
  type: SandboxEventType;
  namespace: string;
  sandbox: string;
  /** What it does since then; absent once it is gone. */
  state?: SandboxState;
}

/** Changes of sandboxes as this router's table has them, the last of them kept. */
export interface EventLog {
  /** Told of each event from now on; returns what ends that. */
  subscribe(listener: (event: SandboxEvent) => void): () => void;
  /** Events after that one; undefined where they can't be known any more, or never were of this router. */
  since(id: string): SandboxEvent[] | undefined;
  /** Id of the latest event. */
  latestId(): string;
}

/** What the log needs. */
export interface EventLogOptions {
  table: Pick<RoutingTable, 'routes' | 'isRoutable' | 'onChange'>;
  /** Tells the logs of different routers, and of different starts of one, apart. */
  epoch: string;
  now(): Date;
  /** Events kept for those who come back. */
  size?: number;
}

/** State of a member of a warm pool, of which nobody is told. */
const POOLED = 'pooled';

/** A log that starts with its first subscriber: before, following costs nothing. */
export function createEventLog({ table, epoch, now, size = 10_000 }: EventLogOptions): EventLog {
  const listeners = new Set<(event: SandboxEvent) => void>();
  const kept: SandboxEvent[] = [];
  let sequence = 0;
  /** What each sandbox did last, by namespace, name and UID. */
  let states: Map<string, { uid: string; state: SandboxState | typeof POOLED }> | undefined;

  function start(): void {
    if (states !== undefined) return;
    states = new Map();
    for (const route of table.routes()) states.set(keyOf(route.sandbox), record(route));
    table.onChange(changed);
  }

  function record(route: Route): { uid: string; state: SandboxState | typeof POOLED } {
    return { uid: route.sandbox.uid, state: route.sandbox.pooled ? POOLED : stateOf(route, table) };
  }

  function changed(namespace: string, name: string, route: Route | undefined): void {
    const key = `${namespace}/${name}`;
    const before = states?.get(key);
    if (route === undefined) {
      states?.delete(key);
      if (before !== undefined && before.state !== POOLED) emit('deleted', namespace, name, undefined);
      return;
    }
    const after = record(route);
    if (before?.uid === after.uid && before.state === after.state) return;
    states?.set(key, after);
    if (after.state === POOLED) return;
    if (before === undefined || before.uid !== after.uid) emit('created', namespace, name, after.state);
    else if (before.state === POOLED) emit('claimed', namespace, name, after.state);
    const slept = before?.state === 'paused' || before?.state === 'pausing';
    if (before?.uid === after.uid && slept && after.state === 'starting') emit('waking', namespace, name, after.state);
    else emit(after.state, namespace, name, after.state);
  }

  function emit(type: SandboxEventType, namespace: string, sandbox: string, state: SandboxState | undefined): void {
    sequence++;
    const event = {
      id: `${epoch}-${sequence}`,
      time: now().toISOString(),
      type,
      namespace,
      sandbox,
      ...(state === undefined ? {} : { state }),
    };
    kept.push(event);
    // Cut in blocks: shifting at every event would move all of them.
    if (kept.length >= size * 2) kept.splice(0, size);
    for (const listener of listeners) listener(event);
  }

  return {
    subscribe: (listener) => {
      start();
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    since: (id) => {
      const [of, number] = /^(.+)-(\d+)$/.exec(id)?.slice(1) ?? [];
      const after = Number(number);
      if (of !== epoch || after > sequence || after < sequence - kept.length) return undefined;
      return kept.slice(kept.length - (sequence - after));
    },
    latestId: () => `${epoch}-${sequence}`,
  };
}

function keyOf({ namespace, name }: { namespace: string; name: string }): string {
  return `${namespace}/${name}`;
}
