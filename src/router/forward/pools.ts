import { LRUCache } from 'lru-cache';
import { Pool } from 'undici';
import type { PodRecord, Route } from '../table/index.ts';
import type { Line, Lines } from './lines.ts';

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

/** Connections to one port of one pod. */
export class UpstreamPool extends Pool {
  /** Answers without known length that are under way. */
  readonly streams = new Set<PausableAnswer>();
  /** Its pod is in a snapshot. */
  asleep = false;
  private farewells: (() => void)[] = [];

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

/** Pools per pod UID and port. */
export function createUpstreamPools(lines: Lines): UpstreamPools {
  const byPod = new Map<string, Map<number, UpstreamPool>>();
  const recency = new LRUCache<UpstreamPool, { uid: string; port: number; ended: () => void }>({
    max: MOST_POOLS,
    dispose: ({ uid, port, ended }, pool) => {
      const ports = byPod.get(uid);
      if (ports?.get(port) === pool) ports.delete(port);
      if (ports?.size === 0) byPod.delete(uid);
      // What is under way on it ends in its own time unless the pod itself is gone.
      pool.close().then(ended, ended);
    },
  });

  /** Connections on which nothing is under way end with the pause; others sleep, and end when what is under way on them does. */
  function lineOf(pool: UpstreamPool): Line {
    return {
      count: () => pool.stats.running,
      hush: () => void recency.delete(pool),
      sleep: (how) => {
        if (how === 'redial' || pool.stats.running === 0) return false;
        pool.fallAsleep();
        return true;
      },
      goOn: () => pool.wakeUp(),
      cut: () => {
        recency.delete(pool);
        pool.destroy(new PodGoneError()).catch(() => {});
        pool.wakeUp();
      },
    };
  }

  return {
    get: (route, pod, port, connectTimeoutMs) => {
      const known = byPod.get(pod.uid)?.get(port);
      if (known !== undefined) {
        recency.get(known);
        return known;
      }
      const host = pod.address.includes(':') ? `[${pod.address}]` : pod.address;
      const pool = new UpstreamPool(`http://${host}:${port}`, {
        connections: 1024,
        pipelining: 1,
        keepAliveTimeout: KEEP_ALIVE_MS,
        keepAliveMaxTimeout: 600_000,
        connect: { timeout: connectTimeoutMs, keepAlive: false, noDelay: true },
        maxHeaderSize: 65_536,
      });
      const ports = byPod.get(pod.uid) ?? new Map<number, UpstreamPool>();
      byPod.set(pod.uid, ports.set(port, pool));
      let ended = () => {};
      recency.set(pool, { uid: pod.uid, port, ended: () => ended() });
      ended = lines.add(lineOf(pool), route, pod);
      return pool;
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
