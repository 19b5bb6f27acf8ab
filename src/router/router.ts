import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { type HttpResourceClient, startLeaderElection } from '../kubernetes/index.ts';
import { createRouterMetrics } from '../telemetry/index.ts';
import { accessLine } from './access-line.ts';
import { createAdminServer } from './admin-server.ts';
import { registerControlApi } from './api/index.ts';
import { compactHeap } from './compact-heap.ts';
import { startTableFeed } from './feed.ts';
import { createTrustedProxies, createTunnels, createUpstreamPools } from './forward/index.ts';
import { createFrontServer } from './front-server.ts';
import { ANONYMOUS, type Identity } from './identity/index.ts';
import type { Policy } from './policy/index.ts';
import { startPolicyGate } from './policy-gate.ts';
import type { RequestOutcome } from './proxy/index.ts';
import { createProxy } from './proxy/index.ts';
import { createSandboxWriter } from './sandbox-writer.ts';
import { createRoutingTable } from './table/index.ts';
import { createActivityTracker, createIdlePauser, createWaker, type WakeLimits } from './wake/index.ts';

/** Everything that a router is made with. */
export interface RouterOptions {
  client: HttpResourceClient;
  /** Namespaces to serve; all if empty. */
  namespaces: readonly string[];
  /** Label selector of the Sandboxes to serve; all if undefined. */
  sandboxSelector: string | undefined;
  listen: { host: string; port: number };
  adminListen: { host: string; port: number };
  /** Undefined lets anybody in, as `anonymous`. */
  identity: Identity | undefined;
  policy: Policy;
  /** Why the configuration file as it is now is not in force; undefined while it is. */
  configurationRefusal(): string | undefined;
  baseDomain: string | undefined;
  pathPrefix: string | undefined;
  trustedProxies: readonly string[];
  wakeLimits: WakeLimits;
  idle: IdleOptions;
  maxBodyBytes: number;
  /** Between turning unready and refusing connections, so that load balancers send nothing more. */
  shutdownDelayMs: number;
  drainTimeoutMs: number;
  /** One line for each request, or undefined. */
  accessLog: ((line: string) => void) | undefined;
  /** Told of failures that no caller sees. */
  report(what: string, error: unknown): void;
}

/** When sandboxes are paused for want of use, and by whom. */
export interface IdleOptions {
  /** For sandboxes without an annotation; 0 for never. */
  defaultTimeoutMs: number;
  /** How often activity is told to other routers in front of the same cluster; 0 where this is the only one. */
  reportIntervalMs: number;
  /** Lease by which routers choose the one that pauses; undefined where there is only one. */
  lease: { namespace: string; name: string } | undefined;
  /** Whether a Pod snapshot is to be taken first. */
  podSnapshots(): Promise<boolean>;
}

/** A router that listens. */
export interface Router {
  url: string;
  adminUrl: string;
  /** Resolves when the routing table is complete for the first time. */
  synced: Promise<void>;
  /** Turns unready, then stops taking requests, waits for those under way within the drain timeout, then ends. */
  close(): Promise<void>;
}

/** Upstream timeouts (design section 6 and issue of the data path): connect, head of the answer, silence in a stream. */
const TIMEOUTS = { connectMs: 2000, responseHeaderMs: 300_000, idleStreamMs: 300_000 };
/** From so many sandboxes on, the first list leaves garbage worth giving back. */
const LARGE_TABLE = 5000;
/** How often activity is looked at. */
const IDLE_TICK_MS = 1000;

/** Starts the proxy and its admin server. */
export async function startRouter(options: RouterOptions): Promise<Router> {
  const table = createRoutingTable();
  const { policy } = options;
  const gate = startPolicyGate({
    policy,
    table,
    client: options.client,
    namespaces: options.namespaces,
    typicalWakeSeconds: () => waker.typicalSeconds(),
    report: options.report,
  });
  const feed = startTableFeed({
    judge: gate.judge,
    client: options.client,
    table,
    namespaces: options.namespaces,
    sandboxSelector: options.sandboxSelector,
    failed: (error) => options.report('following the cluster', error),
  });
  const writer = createSandboxWriter(options.client, feed.form);
  feed.synced.then(
    () => (table.size() >= LARGE_TABLE ? compactHeap() : undefined),
    () => {},
  );
  const pools = createUpstreamPools(TIMEOUTS);
  const tunnels = createTunnels();
  table.onRetired((uid) => {
    pools.closePod(uid);
    tunnels.closePod(uid);
  });
  const waker = createWaker({
    writer,
    table,
    limits: options.wakeLimits,
    finished: (result, durationMs) => metrics.wake(result, durationMs),
  });
  const address = { baseDomain: options.baseDomain, pathPrefix: options.pathPrefix };
  const activity = createActivityTracker();
  const proxy = createProxy({
    activity,
    table,
    isSynced: feed.isSynced,
    identity: options.identity,
    anonymous: ANONYMOUS,
    waker,
    limits: gate.limits,
    refusedByClass: gate.refusedByClass,
    pools,
    tunnels,
    proxies: createTrustedProxies(options.trustedProxies),
    address,
    maxBodyBytes: options.maxBodyBytes,
    connectTimeoutMs: TIMEOUTS.connectMs,
    responseHeaderTimeoutMs: TIMEOUTS.responseHeaderMs,
    finished: account,
    report: options.report,
  });
  const metrics = createRouterMetrics({
    inFlight: proxy.inFlight,
    held: waker.heldCount,
    tunnels: tunnels.count,
    sandboxes: table.size,
    tableEvents: feed.eventCount,
    tableAgeSeconds: () => feed.ageMs() / 1000,
    unenforcedPods: gate.judge.unenforcedCount,
    configurationRefused: () => (options.configurationRefusal() === undefined ? 0 : 1),
  });
  const identity = `${hostname()}-${randomUUID().slice(0, 8)}`;
  const election =
    options.idle.lease === undefined
      ? undefined
      : startLeaderElection({
          client: options.client,
          lease: options.idle.lease,
          identity,
          failed: (error) => options.report('choosing the router that pauses idle sandboxes', error),
        });
  const pauser = createIdlePauser({
    ...options.idle,
    client: options.client,
    writer,
    table,
    activity,
    defaultTimeoutMsOf: (namespace) => {
      const { tenants } = policy;
      const owner = tenants.isConfigured() ? tenants.ownerOf(namespace) : undefined;
      return owner?.idleTimeoutMs ?? options.idle.defaultTimeoutMs;
    },
    isLeader: () => feed.isSynced() && (election === undefined || election.isLeader()),
    paused: (result) => metrics.idlePause(result),
    failed: options.report,
  });
  const pauseTimer = setInterval(pauser.tick, IDLE_TICK_MS);
  let draining = false;

  function account(outcome: RequestOutcome): void {
    metrics.request(outcome.status, outcome.durationMs);
    if (outcome.problem !== undefined) metrics.problem(outcome.problem.code);
    options.accessLog?.(accessLine(outcome));
  }

  const { fastify, server, drain } = createFrontServer(proxy, options.baseDomain);
  registerControlApi(fastify, {
    writer,
    table,
    identity: options.identity,
    anonymous: ANONYMOUS,
    limits: gate.limits,
    address,
    unenforcedReason: gate.judge.reasonOf,
    refusedByClass: gate.refusedByClass,
  });

  const readiness = () => ({
    ready: feed.isSynced() && gate.isSynced() && !draining,
    draining,
    tableSynced: feed.isSynced(),
    tableAgeSeconds: Math.round(feed.ageMs() / 1000),
    sandboxes: table.size(),
    configurationRefusal: options.configurationRefusal(),
  });
  const admin = createAdminServer(readiness, metrics.registry);

  try {
    await fastify.listen(options.listen);
    await admin.listen(options.adminListen);
  } catch (error) {
    clearInterval(pauseTimer);
    feed.close();
    gate.close();
    await Promise.all([fastify.close(), admin.close(), election?.close()]);
    throw error;
  }

  return {
    url: urlOf(server, options.listen.host),
    adminUrl: urlOf(admin.server, options.adminListen.host),
    synced: feed.synced,
    close: async () => {
      draining = true;
      drain();
      clearInterval(pauseTimer);
      await election?.close();
      tunnels.closeAll();
      if (options.shutdownDelayMs > 0) await delay(options.shutdownDelayMs);
      tunnels.closeAll();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => {
        tunnels.destroyAll();
        server.closeAllConnections();
      }, options.drainTimeoutMs);
      await closed;
      clearTimeout(timer);
      waker.close();
      feed.close();
      gate.close();
      await Promise.all([pools.close(), fastify.close(), admin.close()]);
    },
  };
}

function urlOf(server: { address(): AddressInfo | string | null }, host: string): string {
  const { port } = server.address() as AddressInfo;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
