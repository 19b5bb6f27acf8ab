import { type ConnectionOwner, UpstreamConnection } from './connection.ts';
import { dialFailure, notDialled } from './errors.ts';
import type { UpstreamControl, UpstreamHandler, UpstreamRequest } from './exchange.ts';
import type { ReadBuffers } from './read-buffers.ts';

/** Connections to one port of one pod. */
export interface UpstreamPool {
  /** Sends a request on an idle connection, else on a new one; where there are too many, once one is free. */
  dispatch(request: UpstreamRequest, handler: UpstreamHandler): UpstreamControl;
  /** Requests under way. */
  running(): number;
  /** Idle connections end now, others with their answer; `ended` is called when there are none any more. */
  close(ended: () => void): void;
  /** Every connection ends now, and requests under way fail with the reason. */
  destroy(reason: Error): void;
  /** Whether what is under way can wait for a pod that sleeps: a connection of HTTP/2 answers for itself, so nothing waits on one. */
  readonly sleeps: boolean;
  /** The pod is in a snapshot: nothing is sent to it, and nothing that it does not do is held against it, until {@link wakeUp}. */
  fallAsleep(): void;
  wakeUp(): void;
  /** Runs at once, or when the pod is awake: what ends a connection must reach the pod. */
  whenAwake(end: () => void): void;
}

/** What pools have in common. */
export interface PoolCommons {
  buffers: ReadBuffers;
  /** Told of every connection, as their deadlines must be watched. */
  opened(connection: UpstreamConnection): void;
  closed(connection: UpstreamConnection): void;
}

/** A pod's port serves so many at once. */
const MOST_CONNECTIONS = 1024;
/**
 * So many are dialled at once, and while answers set others free only one in so long; whoever needs one takes the first that is free, dialled or not. A connection costs as
 * much as several requests: after a moment in which nothing was answered, one for each request that came meanwhile would make the moment many times as long.
 */
const MOST_DIALS = 4;
const DIAL_AGAIN_MS = 2;
/** Connections kept without a request; the others end with their answer. */
const MOST_IDLE = 256;

/** A request that waits for a connection. */
class Waiting implements UpstreamControl {
  readonly request: UpstreamRequest;
  readonly handler: UpstreamHandler;
  /** Where it went. */
  connection: UpstreamConnection | undefined;
  aborted = false;

  constructor(request: UpstreamRequest, handler: UpstreamHandler) {
    this.request = request;
    this.handler = handler;
  }

  pause(): void {
    this.connection?.pause();
  }

  resume(): void {
    this.connection?.resume();
  }

  abort(): void {
    this.aborted = true;
    this.connection?.abort();
  }
}

/** A pool without connections yet. */
export function createUpstreamPool(host: string, port: number, commons: PoolCommons): UpstreamPool {
  /** The one used last is used next: others grow old and end. */
  const idle: UpstreamConnection[] = [];
  const open = new Set<UpstreamConnection>();
  const waiting: Waiting[] = [];
  const farewells: (() => void)[] = [];
  let dialling = 0;
  let willDial = false;
  /** Whether an answer set a connection free for one that waited, since that was last looked at. */
  let answering = false;
  let closing: (() => void) | undefined;
  let cutFor: Error | undefined;

  const owner: ConnectionOwner = {
    buffers: commons.buffers,
    asleep: false,
    connected: () => {
      dialling--;
      if (willDial || waiting.length === 0) return;
      willDial = true;
      // Answers that have come in the same turn free theirs first.
      setImmediate(dialForMore);
    },
    idle: (connection) => {
      const next = nextWaiting();
      if (next !== undefined) {
        answering = true;
        next.connection = connection;
        connection.send(next.request, next.handler, performance.now());
      } else if (closing !== undefined || idle.length >= MOST_IDLE) connection.destroy();
      else idle.push(connection);
    },
    closed: (connection, wasConnected, failure) => {
      open.delete(connection);
      commons.closed(connection);
      const at = idle.lastIndexOf(connection);
      if (at >= 0) idle.splice(at, 1);
      if (!wasConnected) dialling--;
      // Whoever waited for that dial would have made the same one.
      if (!wasConnected && failure !== undefined && cutFor === undefined)
        for (const { handler, aborted } of waiting.splice(0)) if (!aborted) handler.onError(dialFailure(failure));
      if (mayDial(MOST_DIALS)) dialForNext();
      if (open.size === 0) closing?.();
    },
  };

  function dialForMore(): void {
    willDial = answering && waiting.length > 0;
    if (willDial) setTimeout(dialForMore, DIAL_AGAIN_MS);
    const most = answering ? 1 : MOST_DIALS;
    answering = false;
    while (waiting.length > 0 && mayDial(most)) dialForNext();
  }

  function dialForNext(): void {
    const next = nextWaiting();
    if (next !== undefined) next.connection = dial(next.request, next.handler);
  }

  function mayDial(most: number): boolean {
    return cutFor === undefined && dialling < most && open.size < MOST_CONNECTIONS;
  }

  function nextWaiting(): Waiting | undefined {
    for (;;) {
      const next = waiting.shift();
      if (next === undefined || !next.aborted) return next;
    }
  }

  function dial(request: UpstreamRequest, handler: UpstreamHandler): UpstreamConnection {
    const nowMs = performance.now();
    const connection = new UpstreamConnection(host, port, request.connectMs, nowMs, owner);
    dialling++;
    open.add(connection);
    commons.opened(connection);
    connection.send(request, handler, nowMs);
    return connection;
  }

  return {
    dispatch: (request, handler) => {
      const nowMs = performance.now();
      for (let kept = idle.pop(); kept !== undefined; kept = idle.pop()) {
        if (kept.isUsable(nowMs)) {
          kept.send(request, handler, nowMs);
          return kept;
        }
        kept.destroy();
      }
      if (mayDial(MOST_DIALS)) return dial(request, handler);
      const waits = new Waiting(request, handler);
      if (cutFor === undefined) waiting.push(waits);
      else process.nextTick(refuse, waits, cutFor);
      return waits;
    },
    sleeps: true,
    running: () => open.size - idle.length,
    close: (ended) => {
      closing = ended;
      for (const connection of idle.splice(0)) connection.destroy();
      // Whoever closes it may be about to send on it.
      process.nextTick(() => (open.size === 0 ? ended() : undefined));
    },
    destroy: (reason) => {
      closing ??= () => {};
      cutFor = reason;
      idle.length = 0;
      for (const connection of open) connection.destroy(reason);
      for (const waits of waiting.splice(0)) refuse(waits, reason);
    },
    fallAsleep: () => {
      owner.asleep = true;
    },
    wakeUp: () => {
      if (!owner.asleep) return;
      owner.asleep = false;
      const nowMs = performance.now();
      for (const connection of open) connection.restartDeadline(nowMs);
      for (const end of farewells.splice(0)) end();
    },
    whenAwake: (end) => {
      if (owner.asleep) farewells.push(end);
      else end();
    },
  };
}

function refuse({ handler, aborted }: Waiting, reason: Error): void {
  if (!aborted) handler.onError(notDialled(reason));
}
