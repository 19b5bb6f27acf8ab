import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import {
  AUDIT_INTERVAL_MS,
  type AuditLog,
  createAuditLog,
  createRouterMetrics,
  type RouterMetrics,
} from '../telemetry/index.ts';
import { accessLine } from './access-line.ts';
import { createEventLog, createUrls, registerControlApi } from './api/index.ts';
import type { ClusterView } from './cluster.ts';
import { registerConsole } from './console/index.ts';
import { createLines, createTrustedProxies, createTunnels, createUpstreamPools } from './forward/index.ts';
import { createFrontServer } from './front-server.ts';
import { ANONYMOUS } from './identity/index.ts';
import { idleTimeouts } from './idle-pausing.ts';
import {
  createLedger,
  createTransitions,
  createUses,
  type Ledger,
  type Transitions,
  type Uses,
} from './ledger/index.ts';
import { recordRefusal, recordWake } from './ledger-of-requests.ts';
import type { FrontOptions } from './options.ts';
import { createAwakeCount, createLimits, type Policy, refusedByClass, type Tenant } from './policy/index.ts';
import { createBrowserGate, createProxy, type RequestOutcome } from './proxy/index.ts';
import type { PodRecord, Route } from './table/index.ts';
import {
  type ActivityTracker,
  createActivityTracker,
  createAsleepAnswers,
  createIntentReader,
  createWaker,
  keepRunningWhileUsed,
  withDefaults,
} from './wake/index.ts';

/** Everything that answers requests, over a view of the cluster. */
export interface Front {
  server: Server;
  metrics: RouterMetrics;
  /** What was used of late: for whoever pauses the rest. */
  activity: ActivityTracker;
  ledger: Ledger;
  uses: Uses;
  transitions: Transitions;
  /** @throws Error with the system's code, such as EADDRINUSE */
  listen(address: { host: string; port: number; exclusive?: boolean; reusePort?: boolean }): Promise<void>;
  /** Tells clients to go elsewhere, after a delay stops taking requests, and ends when those under way have, or at the drain timeout. */
  close(delayMs: number): Promise<void>;
}

const STALE_CHECK_MS = 1000;
/** How often it is looked whether there is something to say of what keeps sandboxes awake. */
const USES_CHECK_MS = 10_000;

/** Proxy and control API behind one server that does not listen yet. `activityIntervalMs`: how often its activity is taken. */
export function createFront(
  options: FrontOptions & { policy: Policy },
  cluster: ClusterView,
  activityIntervalMs = 1000,
): Front {
  const { policy } = options;
  const { table, writer } = cluster;
  const lines = createLines(table, options.sleepLimits);
  const pools = createUpstreamPools(lines, options.sandboxTls);
  const tunnels = createTunnels(lines);
  const waker = createWaker({
    writer,
    table,
    limits: options.wakeLimits,
    finished: (result, durationMs) => metrics.wake(result, durationMs),
  });
  const awake = createAwakeCount(table, policy.tenants);
  policy.onReplaced(awake.refresh);
  const limits = createLimits(awake, waker.typicalSeconds);
  const judgeClasses = (tenant: Tenant, route: Route, pod: PodRecord | undefined) =>
    refusedByClass(tenant, route.sandbox, pod, policy.settings(), cluster.unenforcedReason);
  const address = { baseDomain: options.baseDomain, pathPrefix: options.pathPrefix };
  // Asked on every request, so it is looked up once a second.
  let stale = false;
  const staleTimer =
    options.maxTableAgeMs === 0
      ? undefined
      : setInterval(() => {
          stale = cluster.ageMs() > options.maxTableAgeMs;
        }, STALE_CHECK_MS);
  const ledger = createLedger({
    client: options.client,
    reporter: hostname(),
    recorded: (type, via) => metrics.event(type, via),
    failed: options.report,
  });
  const transitions = createTransitions(table, ledger);
  const idleTimeoutMsOf = idleTimeouts(policy, options.idle);
  const uses = createUses(ledger, (route) => idleTimeoutMsOf(route) > 0, activityIntervalMs);
  const usesTimer = setInterval(uses.settle, USES_CHECK_MS).unref();
  const activity = createActivityTracker(uses.saw);
  const stopKeeping = keepRunningWhileUsed({
    table,
    writer,
    calledOff: ({ sandbox: { namespace, name, uid }, activity: { usedBy } }) =>
      ledger.record(
        { namespace, name, uid },
        { type: 'pause_cancelled', ...(usedBy && { cause: usedBy }), detail: 'its request was under way' },
      ),
    failed: options.report,
  });
  const proxies = createTrustedProxies(options.trustedProxies);
  const { links, tokenQuery, certificates, scopedTokenKeys } = options.browsers;
  const proxy = createProxy({
    browsers: createBrowserGate({ ...options.browsers, baseDomain: options.baseDomain }),
    ambient: { tokenQuery, certificates, ownConnections: options.ownConnections },
    links,
    activity,
    table,
    isSynced: cluster.isSynced,
    isStale: () => stale,
    identity: options.identity,
    anonymous: ANONYMOUS,
    waker,
    asleep: createAsleepAnswers(),
    intents: createIntentReader(withDefaults(options.quietAgents)),
    limits,
    refusedByClass: judgeClasses,
    pools,
    tunnels,
    proxies,
    sandboxTls: options.sandboxTls,
    address,
    woke: ({ tenant, credentialId, namespace, sandbox, connection }) =>
      audit?.act({
        action: 'woke',
        tenant,
        credential: credentialId,
        client: connection.remoteAddress,
        namespace,
        sandbox,
      }),
    wakeEnded: (exchange, wake) => {
      recordWake(ledger, exchange, wake);
      const { outcome, admittedAtMs, route } = wake;
      const ok = outcome !== undefined && 'pod' in outcome;
      // One that was given up before its turn was none.
      if (ok || admittedAtMs !== undefined)
        metrics.ofTenant.wake(exchange.tenant ?? '', route.sandbox.namespace, ok ? 'ok' : 'failed');
    },
    maxBodyBytes: options.maxBodyBytes,
    timeouts: options.timeouts,
    rateLimitFields: options.rateLimitFields,
    traces: options.traces,
    finished: account,
    report: options.report,
  });
  const audit = options.audit && createAuditLog(options.audit.write, () => new Date());
  const auditTimer = audit && setInterval(audit.settle, AUDIT_INTERVAL_MS).unref();
  const metrics = createRouterMetrics({
    auditLinesDropped: () => options.audit?.droppedLines() ?? 0,
    traceSpansDropped: () => options.traces?.droppedSpans() ?? 0,
    inFlight: proxy.inFlight,
    held: waker.heldCount,
    heldBytes: waker.heldBytes,
    queuedWakes: waker.queuedCount,
    tunnels: tunnels.count,
    http2Connections: () => http2.connectionCount(),
    sleeping: lines.sleeping,
    sandboxes: table.size,
    suspectPods: table.suspectCount,
    tableEvents: cluster.eventCount,
    tableAgeSeconds: () => cluster.ageMs() / 1000,
    unenforcedPods: cluster.unenforcedCount,
    configurationRefused: () => (options.configurationRefusal() === undefined ? 0 : 1),
  });

  function account(outcome: RequestOutcome): void {
    const { status, route, tenant, forwardDelayMs } = outcome;
    metrics.request(status, outcome.durationMs);
    if (forwardDelayMs >= 0) metrics.forwarded(forwardDelayMs);
    if (route !== undefined && tenant !== undefined) metrics.ofTenant.request(tenant, route.sandbox.namespace, status);
    if (outcome.problem !== undefined) {
      metrics.problem(outcome.problem.code);
      recordRefusal(ledger, outcome);
    }
    options.accessLog?.write(accessLine(outcome));
    if (audit !== undefined) auditOutcome(audit, outcome);
  }

  const { fastify, server, http2, upgrades, drain } = createFrontServer(proxy, options.baseDomain, options.tls, {
    ...options.http2,
    abused: metrics.http2Abuse,
  });
  const streams = registerControlApi(fastify, {
    waker,
    client: options.client,
    namespaces: options.namespaces,
    urlsOf: createUrls(proxies, options.baseDomain),
    links,
    certificates,
    scopedTokenKeys,
    tenants: policy.tenants,
    proxies,
    log: createEventLog({ table, epoch: randomUUID().slice(0, 8), now: () => new Date() }),
    upgrades,
    report: options.report,
    audit: ({ credentialId, detail, ...record }) =>
      record.action === 'refused'
        ? audit?.often('refused', record.tenant, credentialId, record.namespace, record.sandbox, {
            code: record.code,
            client: record.client,
            reason: detail,
            requestId: record.requestId,
          })
        : audit?.act({ ...record, credential: credentialId }),
    writer,
    transitions,
    ledger,
    isAlone: options.idle.reportIntervalMs === 0,
    table,
    sleepingOf: lines.sleepingOf,
    identity: options.identity,
    anonymous: ANONYMOUS,
    limits,
    address,
    unenforcedReason: cluster.unenforcedReason,
    refusedByClass: judgeClasses,
  });

  registerConsole(fastify);

  return {
    server,
    metrics,
    activity,
    ledger,
    uses,
    transitions,
    listen: async (listen) => void (await fastify.listen(listen)),
    close: async (delayMs) => {
      drain();
      clearInterval(staleTimer);
      const sendAway = () => {
        streams.closeAll();
        tunnels.closeAll();
      };
      sendAway();
      if (delayMs > 0) await delay(delayMs);
      sendAway();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      http2.close();
      server.closeIdleConnections();
      const timer = setTimeout(() => {
        tunnels.destroyAll();
        server.closeAllConnections();
        http2.destroyAll();
      }, options.drainTimeoutMs);
      await closed;
      clearTimeout(timer);
      lines.close();
      waker.close();
      stopKeeping();
      clearInterval(usesTimer);
      transitions.close();
      await ledger.close();
      clearInterval(auditTimer);
      audit?.settle();
      pools.close();
      await fastify.close();
    },
  };
}

/** A request that reached its sandbox, or was refused by the router. What a sandbox broke by itself is no matter of who may what. */
function auditOutcome(
  audit: AuditLog,
  { status, tenant, credentialId, namespace, sandbox, problem, connection, requestId }: RequestOutcome,
): void {
  if (problem === undefined) {
    if (status !== 499) audit.often('reached', tenant, credentialId, namespace, sandbox, undefined);
  } else if (!problem.code.startsWith('upstream_'))
    audit.often('refused', tenant, credentialId, namespace, sandbox, {
      code: problem.code,
      client: connection.remoteAddress,
      reason: problem.detail,
      requestId,
    });
}
