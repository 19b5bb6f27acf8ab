import { LRUCache } from 'lru-cache';
import { Pool } from 'undici';
import type { PodRecord } from '../table/index.ts';

/** Connections to sandboxes. A pool belongs to one pod UID and port, so that no connection outlives its pod. */
export interface UpstreamPools {
  /** `connectTimeoutMs` is that of whoever is first to ask. */
  get(pod: PodRecord, port: number, connectTimeoutMs: number): Pool;
  /** Cuts every connection to this pod at once. */
  closePod(uid: string): void;
  close(): Promise<void>;
}

/** Pools kept at once; the least used one is closed when another is needed. */
const MOST_POOLS = 4096;
/** Idle connections end before sandboxes tend to end them (5 s in Node). */
const KEEP_ALIVE_MS = 4000;

/** Pools per pod UID and port. */
export function createUpstreamPools(): UpstreamPools {
  const byPod = new Map<string, Map<number, Pool>>();
  const recency = new LRUCache<Pool, { uid: string; port: number }>({
    max: MOST_POOLS,
    dispose: ({ uid, port }, pool) => {
      const ports = byPod.get(uid);
      if (ports?.get(port) === pool) ports.delete(port);
      if (ports?.size === 0) byPod.delete(uid);
      // What is under way on it ends in its own time unless the pod itself is gone.
      pool.close().catch(() => {});
    },
  });

  return {
    get: (pod, port, connectTimeoutMs) => {
      const known = byPod.get(pod.uid)?.get(port);
      if (known !== undefined) {
        recency.get(known);
        return known;
      }
      const host = pod.address.includes(':') ? `[${pod.address}]` : pod.address;
      const pool = new Pool(`http://${host}:${port}`, {
        connections: 1024,
        pipelining: 1,
        keepAliveTimeout: KEEP_ALIVE_MS,
        keepAliveMaxTimeout: 600_000,
        connect: { timeout: connectTimeoutMs, keepAlive: false, noDelay: true },
        maxHeaderSize: 65_536,
      });
      const ports = byPod.get(pod.uid) ?? new Map<number, Pool>();
      byPod.set(pod.uid, ports.set(port, pool));
      recency.set(pool, { uid: pod.uid, port });
      return pool;
    },
    closePod: (uid) => {
      const ports = byPod.get(uid);
      if (ports === undefined) return;
      byPod.delete(uid);
      for (const pool of ports.values()) {
        recency.delete(pool);
        pool.destroy(new PodGoneError()).catch(() => {});
      }
    },
    close: async () => {
      const pools = [...recency.keys()];
      recency.clear();
      byPod.clear();
      await Promise.all(pools.map((pool) => pool.destroy().catch(() => {})));
    },
  };
}

/** Why connections of a pod were cut. */
export class PodGoneError extends Error {
  readonly code = 'pod_gone';

  constructor() {
    super('the pod is gone');
  }
}
