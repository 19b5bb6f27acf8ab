import { LRUCache } from 'lru-cache';
import { type Dispatcher, Pool } from 'undici';
import { type PodRecord, protocolOf, type Route, type UpstreamProtocol } from '../table/index.ts';
import { createHttp2Upstream } from './http2-upstream.ts';
import type { Line, Lines } from './lines.ts';
import { dialed, dialSandbox, type SandboxEndpoint, type SandboxTls } from './sandbox-tls.ts';

/** Connections to sandboxes. A pool belongs to one pod UID and port, so that no connection outlives its pod but as {@link Lines} say. */
export interface UpstreamPools {
  /** `connectTimeoutMs` is that of whoever is first to ask. */
  get(route: Route, pod: PodRecord, port: number, connectTimeoutMs: number): UpstreamPool;
  close(): Promise<void>;
}

/** An answer under way that may last longer than its pod is awake. */
export interface PausableAnswer {
  pause(): void;
  resume(): void;
}

/** Pools kept at once; the least used one is closed when another is needed. */
const MOST_POOLS = 4096;
/** Idle connections end before sandboxes tend to end them (5 s in Node). */
const KEEP_ALIVE_MS = 4000;

/** Connections that speak one protocol; undici's pool is such. */
export interface UpstreamConnections {
  /** Sends a request; everything that comes of it goes to the handler. */
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean;
  /** Resolves when what is under way has ended. */
  close(): Promise<void>;
  destroy(error: Error | null): Promise<void>;
  stats: { running: number };
}

/** Connections to one port of one pod. */
export class UpstreamPool {
  readonly connections: UpstreamConnections;
  /** Whether what is under way can wait for a pod that sleeps: a connection of HTTP/2 answers for itself, so nothing waits on one. */
  readonly sleeps: boolean;
  /** Answers without known length that are under way. */
  readonly streams = new Set<PausableAnswer>();
  /** Its pod is in a snapshot. */
  asleep = false;
  private farewells: (() => void)[] = [];

  constructor(connections: UpstreamConnections, sleeps: boolean) {
    this.connections = connections;
    this.sleeps = sleeps;
  }

  /** Runs at once, or when the pod is awake: what ends a connection must reach the pod, and nothing may be sent while it sleeps. */
  whenAwake(end: () => void): void {
    if (this.asleep) this.farewells.push(end);
    else end();
  }

  fallAsleep(): void {
    this.asleep = true;
    for (const answer of this.streams) answer.pause();
  }

  wakeUp(): void {
    if (!this.asleep) return;
    this.asleep = false;
    for (const answer of this.streams) answer.resume();
    for (const end of this.farewells.splice(0)) end();
  }
}

/** A port may be spoken to in another way than before: pools are told apart by a number that is a port's own for plain HTTP. */
const KEY_OFFSET: Readonly<Record<UpstreamProtocol, number>> = { http: 0, h2c: 65_536, https: 131_072, h2: 196_608 };

/** Pools per pod UID and port. */
export function createUpstreamPools(lines: Lines, tls: SandboxTls): UpstreamPools {
  const byPod = new Map<string, Map<number, UpstreamPool>>();
  const recency = new LRUCache<UpstreamPool, { uid: string; key: number; ended: () => void }>({
    max: MOST_POOLS,
    dispose: ({ uid, key, ended }, pool) => {
      const ports = byPod.get(uid);
      if (ports?.get(key) === pool) ports.delete(key);
      if (ports?.size === 0) byPod.delete(uid);
      // What is under way on it ends in its own time unless the pod itself is gone.
      pool.connections.close().then(ended, ended);
    },
  });

  /** Connections on which nothing is under way end with the pause; others sleep, and end when what is under way on them does. */
  function lineOf(pool: UpstreamPool): Line {
    return {
      count: () => pool.connections.stats.running,
      hush: () => void recency.delete(pool),
      sleep: (how) => {
        if (how === 'redial' || !pool.sleeps || pool.connections.stats.running === 0) return false;
        pool.fallAsleep();
        return true;
      },
      goOn: () => pool.wakeUp(),
      cut: () => {
        recency.delete(pool);
        pool.connections.destroy(new PodGoneError()).catch(() => {});
        pool.wakeUp();
      },
    };
  }

  return {
    get: (route, pod, port, connectTimeoutMs) => {
      const { protocols } = route.sandbox;
      const protocol = protocols === undefined ? 'http' : protocolOf(protocols, port);
      const key = port + KEY_OFFSET[protocol];
      const known = byPod.get(pod.uid)?.get(key);
      if (known !== undefined) {
        recency.get(known);
        return known;
      }
      const pool = open({ sandbox: route.sandbox, address: pod.address, port }, protocol, tls, connectTimeoutMs);
      const ports = byPod.get(pod.uid) ?? new Map<number, UpstreamPool>();
      byPod.set(pod.uid, ports.set(key, pool));
      let ended = () => {};
      recency.set(pool, { uid: pod.uid, key, ended: () => ended() });
      ended = lines.add(lineOf(pool), route, pod);
      return pool;
    },
    close: async () => {
      const pools = [...recency.keys()];
      recency.clear();
      byPod.clear();
      await Promise.all(pools.map((pool) => pool.connections.destroy(null).catch(() => {})));
    },
  };
}

function open(
  endpoint: SandboxEndpoint,
  protocol: UpstreamProtocol,
  tls: SandboxTls,
  connectTimeoutMs: number,
): UpstreamPool {
  const dial = () => dialed(dialSandbox(endpoint, protocol, tls), protocol, connectTimeoutMs);
  if (protocol === 'h2c') return new UpstreamPool(createHttp2Upstream(dial, 'http'), false);
  if (protocol === 'h2') return new UpstreamPool(createHttp2Upstream(dial, 'https'), false);
  const { address, port } = endpoint;
  const pool = new Pool(`http://${address.includes(':') ? `[${address}]` : address}:${port}`, {
    connections: 1024,
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: 600_000,
    // undici would take the name for TLS from each request's Host, and connect anew for another: this one is the sandbox's own.
    connect:
      protocol === 'https'
        ? (_options, done) =>
            void dial().then(
              (socket) => done(null, socket),
              (error) => done(error, null),
            )
        : { timeout: connectTimeoutMs, keepAlive: false, noDelay: true },
    maxHeaderSize: 65_536,
  });
  return new UpstreamPool(pool, true);
}

/** Why connections of a pod were cut. */
export class PodGoneError extends Error {
  readonly code = 'pod_gone';

  constructor() {
    super('the pod is gone');
  }
}
