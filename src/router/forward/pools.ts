import { LRUCache } from 'lru-cache';
import { Pool } from 'undici';
import { type PodRecord, protocolOf, type Route, type UpstreamProtocol } from '../table/index.ts';
import { createHttp2Upstream } from './http2-upstream.ts';
import type { Line, Lines } from './lines.ts';
import { dialed, dialSandbox, type SandboxEndpoint, type SandboxTls } from './sandbox-tls.ts';
import {
  createDispatcherPool,
  createReadBuffers,
  createUpstreamPool,
  type UpstreamConnection,
  type UpstreamPool,
} from './upstream/index.ts';

/** Connections to sandboxes. A pool belongs to one pod UID and port, so that no connection outlives its pod but as {@link Lines} say. */
export interface UpstreamPools {
  /** `connectTimeoutMs` is that of whoever is first to ask, where a sandbox speaks anything but plain HTTP/1.1. */
  get(route: Route, pod: PodRecord, port: number, connectTimeoutMs: number): UpstreamPool;
  close(): void;
}

/** Pools kept at once; the least used one is closed when another is needed. */
const MOST_POOLS = 4096;
/** Resolution of deadlines: they are looked at together, as a timer for each request would cost more. */
const WATCH_MS = 100;

/** A port may be spoken to in another way than before: pools are told apart by a number that is a port's own for plain HTTP. */
const KEY_OFFSET: Readonly<Record<UpstreamProtocol, number>> = { http: 0, h2c: 65_536, https: 131_072, h2: 196_608 };

/** Pools per pod UID and port. */
export function createUpstreamPools(lines: Lines, tls: SandboxTls): UpstreamPools {
  const byPod = new Map<string, Map<number, UpstreamPool>>();
  const open = new Set<UpstreamConnection>();
  let watch: NodeJS.Timeout | undefined;
  const recency = new LRUCache<UpstreamPool, { uid: string; key: number; ended: () => void }>({
    max: MOST_POOLS,
    dispose: ({ uid, key, ended }, pool) => {
      const ports = byPod.get(uid);
      if (ports?.get(key) === pool) ports.delete(key);
      if (ports?.size === 0) byPod.delete(uid);
      // What is under way on it ends in its own time unless the pod itself is gone.
      pool.close(ended);
    },
  });
  const commons = {
    buffers: createReadBuffers(),
    opened: (connection: UpstreamConnection) => {
      open.add(connection);
      watch ??= setInterval(watchAll, WATCH_MS);
    },
    closed: (connection: UpstreamConnection) => {
      open.delete(connection);
      if (open.size > 0) return;
      clearInterval(watch);
      watch = undefined;
    },
  };

  function watchAll(): void {
    const nowMs = performance.now();
    for (const connection of open) connection.watch(nowMs);
  }

  function cut(pool: UpstreamPool): void {
    recency.delete(pool);
    pool.destroy(new PodGoneError());
    pool.wakeUp();
  }

  /** Connections on which nothing is under way end with the pause; others sleep, and end when what is under way on them does. */
  function lineOf(pool: UpstreamPool): Line {
    return {
      count: pool.running,
      hush: () => void recency.delete(pool),
      sleep: (how) => {
        if (how === 'redial' || !pool.sleeps || pool.running() === 0) return false;
        pool.fallAsleep();
        return true;
      },
      goOn: pool.wakeUp,
      cut: () => cut(pool),
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
      const pool =
        protocol === 'http'
          ? createUpstreamPool(pod.address, port, commons)
          : dispatcherPool({ sandbox: route.sandbox, address: pod.address, port }, protocol, tls, connectTimeoutMs);
      const ports = byPod.get(pod.uid) ?? new Map<number, UpstreamPool>();
      byPod.set(pod.uid, ports.set(key, pool));
      let ended = () => {};
      recency.set(pool, { uid: pod.uid, key, ended: () => ended() });
      ended = lines.add(lineOf(pool), route, pod);
      return pool;
    },
    close: () => {
      for (const pool of [...recency.keys()]) cut(pool);
    },
  };
}

/** HTTP/2, and HTTP/1.1 by TLS. */
function dispatcherPool(
  endpoint: SandboxEndpoint,
  protocol: UpstreamProtocol,
  tls: SandboxTls,
  connectTimeoutMs: number,
): UpstreamPool {
  const dial = () => dialed(dialSandbox(endpoint, protocol, tls), protocol, connectTimeoutMs);
  if (protocol !== 'https')
    return createDispatcherPool(createHttp2Upstream(dial, protocol === 'h2' ? 'https' : 'http'), false);
  const { address, port } = endpoint;
  const pool = new Pool(`http://${address.includes(':') ? `[${address}]` : address}:${port}`, {
    connections: 1024,
    pipelining: 1,
    keepAliveTimeout: 4000,
    keepAliveMaxTimeout: 600_000,
    // undici would take the name for TLS from each request's Host, and connect anew for another: this one is the sandbox's own.
    connect: (_options, done) =>
      void dial().then(
        (socket) => done(null, socket),
        (error) => done(error, null),
      ),
    maxHeaderSize: 65_536,
  });
  return createDispatcherPool(pool, true);
}

/** Why connections of a pod were cut. */
export class PodGoneError extends Error {
  readonly code = 'pod_gone';

  constructor() {
    super('the pod is gone');
  }
}
