import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { hostname } from 'node:os';
import { AggregatorRegistry } from 'prom-client';
import { createRouterMetrics } from '../../telemetry/index.ts';
import { createAdminServer } from '../admin-server.ts';
import { type FollowedCluster, followCluster } from '../cluster.ts';
import { idleTimeouts, startIdlePausing } from '../idle-pausing.ts';
import { createLedger, createTransitions, createUses } from '../ledger/index.ts';
import { startLimitSharing } from '../limit-sharing.ts';
import type { RouterOptions } from '../options.ts';
import type { RouterShare } from '../policy/index.ts';
import { type Router, schemeOf, urlOf } from '../router.ts';
import { createRoutingTable } from '../table/index.ts';
import { createActivityTracker } from '../wake/index.ts';
import { encodeLine } from './channel.ts';
import type { ClusterStatus, TableChange, ToWorker } from './protocol.ts';
import { createQuestions } from './questions.ts';
import { shareTable } from './shared-table.ts';
import { createWorkerActivity } from './worker-activity.ts';
import { type PoolWorker, startWorkerPool } from './worker-pool.ts';
import { createWorkerWrites } from './write-for-workers.ts';

/** Workers are told how things are so often, and at once when that changes what they answer. */
const STATUS_INTERVAL_MS = 1000;
/** How often it is looked whether there is something to say of what keeps sandboxes awake. */
const USES_CHECK_MS = 10_000;
/** Beyond their own drain timeout. */
const END_MARGIN_MS = 5000;

/**
 * Starts a router whose requests are answered by worker processes. This process follows the cluster for all of them, writes for them, and pauses what is
 * idle: what lists and changes cost does not stand in the way of requests.
 */
export async function startRouterWithWorkers(options: RouterOptions, workerCount: number): Promise<Router> {
  const activity = createActivityTracker();
  const questions = createQuestions();
  let pending: TableChange[] = [];
  const changed = (change: TableChange) => {
    if (pending.length === 0) setImmediate(flush);
    pending.push(change);
  };
  const inner = createRoutingTable();
  const shared = shareTable(inner, (podUid) => cluster.unenforcedReason(podUid), changed);
  const cluster: FollowedCluster = followCluster({ ...options, rejudged: shared.republish }, shared.table);
  const write = createWorkerWrites(cluster.writer);

  function broadcast(message: ToWorker): void {
    const line = encodeLine(message);
    for (const { channel } of pool.workers()) channel.sendLine(line);
  }

  function flush(): void {
    if (pending.length === 0) return;
    const changes = pending;
    pending = [];
    broadcast({ changes });
  }

  const status = (): ClusterStatus => ({
    synced: cluster.isSynced(),
    policySynced: cluster.isPolicySynced(),
    ageMs: cluster.ageMs(),
    eventCount: cluster.eventCount(),
    unenforcedCount: cluster.unenforcedCount(),
  });

  async function introduce(worker: PoolWorker): Promise<void> {
    const { channel } = worker;
    tellShare(worker);
    channel.send({ status: status() });
    channel.send({ listen: { ...options.listen, port } });
    for (const changes of shared.pieces()) {
      channel.send({ changes });
      await channel.drained();
    }
    channel.send({ complete: true });
  }

  let place: RouterShare = { rank: 0, replicas: 1 };
  const tellShare = ({ index, channel }: PoolWorker) =>
    channel.send({ share: { rank: place.rank * workerCount + index, replicas: place.replicas * workerCount } });
  const port = await freePort(options.listen);
  const firstListening = Promise.withResolvers<void>();
  const activities = new Map<PoolWorker, ReturnType<typeof createWorkerActivity>>();
  const pool = startWorkerPool({
    count: workerCount,
    report: options.report,
    started: (worker) => {
      const { channel } = worker;
      const used = createWorkerActivity(cluster.table, activity);
      activities.set(worker, used);
      channel.onMessage((message) => {
        if ('write' in message) write(message).then((result) => channel.send({ written: message.id, result }));
        else if ('used' in message) {
          used.take(message.used, performance.now());
          worker.suspectPods = message.suspectPods;
        } else if ('answer' in message) questions.answered(worker, message.answer, message.value);
        else if ('listening' in message) {
          worker.listening = true;
          firstListening.resolve();
        } else {
          const { message: text, code } = message.failed;
          firstListening.reject(Object.assign(new Error(text), { code }));
        }
      });
      introduce(worker).catch((error) => options.report('introducing a worker', error));
    },
    ended: (worker) => {
      activities.get(worker)?.end(performance.now());
      activities.delete(worker);
      questions.gone(worker);
    },
  });
  const tellStatus = () => {
    // What the status speaks of goes first.
    flush();
    broadcast({ status: status() });
  };
  const statusTimer = setInterval(tellStatus, STATUS_INTERVAL_MS);
  cluster.synced.then(tellStatus, () => {});

  // Each worker finds out for itself: the one that met most tells.
  const suspectPods = () => Math.max(0, ...pool.workers().map((worker) => worker.suspectPods));
  const own = createRouterMetrics({
    inFlight: () => 0,
    held: () => 0,
    heldBytes: () => 0,
    queuedWakes: () => 0,
    tunnels: () => 0,
    http2Connections: () => 0,
    sleeping: () => 0,
    sandboxes: cluster.table.size,
    suspectPods,
    tableEvents: cluster.eventCount,
    tableAgeSeconds: () => cluster.ageMs() / 1000,
    unenforcedPods: cluster.unenforcedCount,
    auditLinesDropped: () => 0,
    traceSpansDropped: () => 0,
    configurationRefused: () => (options.configurationRefusal() === undefined ? 0 : 1),
  });
  const sharing = startLimitSharing({
    ...options,
    share: (changedPlace) => {
      place = changedPlace;
      pool.workers().forEach(tellShare);
    },
  });
  // Each writes its own part of the audit log.
  if (options.audit !== undefined) process.on('SIGHUP', () => pool.signal('SIGHUP'));
  const ledger = createLedger({
    client: options.client,
    reporter: hostname(),
    recorded: own.event,
    failed: options.report,
  });
  const transitions = createTransitions(cluster.table, ledger);
  const idleTimeoutMsOf = idleTimeouts(options.policy, options.idle);
  const uses = createUses(ledger, (route) => idleTimeoutMsOf(route) > 0);
  const usesTimer = setInterval(uses.settle, USES_CHECK_MS);
  const idle = startIdlePausing({
    ...options,
    cluster,
    activity,
    ledger,
    uses,
    transitions,
    refreshActivity: async () => {
      const workers = pool.workers();
      const answers = await questions.ask(workers, 'activity');
      // Whoever does not say what it does may be doing anything.
      if (answers.length < workers.length) throw new Error('a worker did not tell what it is used for');
    },
    paused: own.idlePause,
  });
  let draining = false;
  const listeningCount = () => pool.workers().filter(({ listening }) => listening).length;
  const admin = createAdminServer(
    () => ({
      ready: cluster.isSynced() && cluster.isPolicySynced() && !draining && listeningCount() > 0,
      draining,
      tableSynced: cluster.isSynced(),
      tableAgeSeconds: Math.round(cluster.ageMs() / 1000),
      sandboxes: cluster.table.size(),
      suspectPods: suspectPods(),
      limitsSharedBy: sharing.replicas(),
      configurationRefusal: options.configurationRefusal(),
      restartNeededFor: options.restartNeededFor(),
      workers: { wanted: workerCount, listening: listeningCount() },
    }),
    {
      contentType: own.registry.contentType,
      metrics: async () => {
        const ofWorkers = await questions.ask(pool.workers(), 'metrics');
        return AggregatorRegistry.aggregate([await own.registry.getMetricsAsJSON(), ...ofWorkers] as never).metrics();
      },
    },
  );

  async function end(delayMs: number): Promise<void> {
    draining = true;
    await Promise.all([idle.close(), sharing.close()]);
    clearInterval(usesTimer);
    transitions.close();
    await ledger.close();
    await pool.close({ close: { delayMs } }, delayMs + options.drainTimeoutMs + END_MARGIN_MS);
    clearInterval(statusTimer);
    cluster.close();
    await admin.close();
  }

  try {
    await Promise.all([firstListening.promise, admin.listen(options.adminListen)]);
    return {
      url: urlOf(port, options.listen.host, schemeOf(options)),
      adminUrl: urlOf((admin.server.address() as { port: number }).port, options.adminListen.host, 'http'),
      synced: cluster.synced,
      connect: () => Promise.reject(new Error('a router with workers is reached by its address only')),
      close: () => end(options.shutdownDelayMs),
    };
  } catch (error) {
    await end(0);
    throw error;
  }
}

/**
 * Port on which nobody listens: the wanted one, or any for 0. Workers share it in a way in which those of another router could join unnoticed, so this
 * is asked without that. @throws Error EADDRINUSE and the like
 */
async function freePort(listen: { host: string; port: number }): Promise<number> {
  const server = createServer().listen({ ...listen, exclusive: true });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
