import cluster from 'node:cluster';
import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import {
  ConfigError,
  DEFAULT_HTTP2,
  DEFAULT_TIMEOUTS,
  isLoopback,
  parseListenAddress,
  type Settings,
  tracesUrl,
} from '../config/index.ts';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  IDLE_LEASE_NAME,
  loadKubeConfig,
  servedVersions,
} from '../kubernetes/index.ts';
import {
  type IdleOptions,
  type Router,
  type RouterOptions,
  runWorker,
  startRouter,
  startRouterWithWorkers,
} from '../router/index.ts';
import { createLineWriter, type LineWriter, startTraces, type Traces } from '../telemetry/index.ts';
import { report } from './report.ts';
import { configuredIdentity, type UpFiles } from './router-identity.ts';
import { configuredPolicy } from './router-policy.ts';
import { configuredSandboxTls, configuredTls } from './router-tls.ts';
import { addSettingOptions, type SettingsSource, settingsSourceFrom } from './setting-options.ts';
import { untilSignal } from './signals.ts';
import { packageVersion } from './version.ts';

/** `sandbox-router serve`: the router in front of a cluster. */
export function serveCommand(): Command {
  return addSettingOptions(new Command('serve'), 'serve')
    .description('run the router in front of a Kubernetes cluster with Agent Sandbox')
    .action((options: Record<string, unknown>) => serve(settingsSourceFrom(options, 'serve')));
}

async function serve(source: SettingsSource): Promise<void> {
  const stopAsked = untilSignal();
  if (cluster.isWorker) {
    // It ends when the primary says so: signals of a terminal reach both.
    const traces = await configuredTraces(source.settings);
    const options = routerOptions(source, source.settings.kubeconfig, undefined, traces);
    await runWorker(sharedAmong(options, source.settings.workers));
    await closeTelemetry(options, LAST_SPANS_MS);
    return;
  }
  const router = await startConfiguredRouter(source, source.settings.kubeconfig, undefined);
  console.log(`  router  ${router.url}\n  admin   ${router.adminUrl}`);
  await stopAsked;
  await router.close();
}

/** Starts a router by the settings. `upFiles` is what `up` made for itself. @throws ConfigError where nobody could get in, or anybody */
export async function startConfiguredRouter(
  source: SettingsSource,
  kubeconfig: string | undefined,
  upFiles: UpFiles | undefined,
): Promise<Router> {
  const { workers } = source.settings;
  // Requests are the workers' where there are any, and so are their traces.
  const traces = workers === 0 ? await configuredTraces(source.settings) : undefined;
  const options = routerOptions(source, kubeconfig, upFiles, traces);
  const router = await (workers === 0 ? startRouter(options) : startRouterWithWorkers(options, workerCount(workers)));
  return {
    ...router,
    close: async () => {
      const drainedAtMs = performance.now() + options.shutdownDelayMs + options.drainTimeoutMs;
      await router.close();
      await closeTelemetry(options, Math.max(LAST_SPANS_MS, drainedAtMs - performance.now()));
    },
  };
}

/** One worker's part of what is bounded for a router. Connections are dealt out in turn, so each has about the same. */
function sharedAmong(options: RouterOptions, workers: Settings['workers']): RouterOptions {
  const part = (bound: number) => Math.ceil(bound / workerCount(workers));
  const { heldPerSandbox, heldTotal, heldBytes, concurrentWakes } = options.wakeLimits;
  return {
    ...options,
    wakeLimits: {
      ...options.wakeLimits,
      heldPerSandbox: part(heldPerSandbox),
      heldTotal: part(heldTotal),
      heldBytes: part(heldBytes),
      concurrentWakes: part(concurrentWakes),
    },
    sleepLimits: {
      sleepingPerSandbox: part(options.sleepLimits.sleepingPerSandbox),
      sleepingTotal: part(options.sleepLimits.sleepingTotal),
    },
  };
}

function workerCount(workers: Settings['workers']): number {
  return workers === 'auto' ? availableParallelism() : workers;
}

/** @throws ConfigError where nobody could get in, or anybody */
function routerOptions(
  source: SettingsSource,
  kubeconfig: string | undefined,
  upFiles: UpFiles | undefined,
  traces: Traces | undefined,
): RouterOptions {
  const { settings } = source;
  const listen = parseListenAddress(settings.listen);
  if (settings.insecureNoAuth && !isLoopback(listen.host))
    throw new ConfigError(
      `--insecure-no-auth would let anybody in who reaches ${settings.listen}: it works with loopback addresses only.`,
    );
  const audit = auditWriterOf(settings);
  const configured = configuredPolicy(source);
  const client = createHttpResourceClient(loadKubeConfig(kubeconfig === undefined ? {} : { path: kubeconfig }));
  return {
    client,
    namespaces: settings.namespaces,
    sandboxSelector: settings.sandboxSelector,
    listen,
    adminListen: parseListenAddress(settings.adminListen),
    policy: configured.policy,
    configurationRefusal: configured.refusal,
    restartNeededFor: configured.restartNeededFor,
    ...configuredIdentity(settings, configured, upFiles, client),
    tls: configuredTls(settings),
    sandboxTls: configuredSandboxTls(settings),
    http2: { ...DEFAULT_HTTP2, ...settings.http2 },
    baseDomain: settings.baseDomain,
    pathPrefix: settings.pathPrefix,
    trustedProxies: settings.trustedProxies,
    wakeLimits: {
      holdTimeoutMs: settings.holdTimeoutMs,
      heldPerSandbox: settings.heldPerSandbox,
      heldTotal: settings.heldTotal,
      heldBytes: settings.heldBytes,
      concurrentWakes: settings.concurrentWakes,
    },
    sleepLimits: { sleepingPerSandbox: settings.sleepingPerSandbox, sleepingTotal: settings.sleepingTotal },
    quietAgents: { unfurlers: settings.unfurlerAgents, monitors: settings.monitorAgents },
    timeouts: { ...DEFAULT_TIMEOUTS, ...settings.timeouts },
    maxTableAgeMs: settings.maxTableAgeMs,
    idle: idleOptions(settings, client, upFiles !== undefined),
    replicaNamespace: upFiles === undefined ? settings.leaseNamespace : undefined,
    maxBodyBytes: settings.maxBodyBytes,
    rateLimitFields: settings.rateLimitFields === 'always',
    traces,
    audit,
    shutdownDelayMs: settings.shutdownDelayMs,
    drainTimeoutMs: settings.drainTimeoutMs,
    accessLog: settings.accessLog
      ? createLineWriter({ target: 'stdout', failed: (error) => report('writing the access log', error) })
      : undefined,
    report,
  };
}

/** For the last spans where the drain took all of its time, and in workers. */
const LAST_SPANS_MS = 1000;

/** Writes what is still to be written, and sends what is still to be sent within the time given. */
async function closeTelemetry({ audit, accessLog, traces }: RouterOptions, timeoutMs: number): Promise<void> {
  await Promise.all([audit?.close(), accessLog?.close(), traces?.close(timeoutMs)]);
}

/** @throws ConfigError where traces can't go where they are to go */
async function configuredTraces({ tracesEndpoint, tracesRatio }: Settings): Promise<Traces | undefined> {
  let url: string | undefined;
  try {
    url = tracesUrl(tracesEndpoint, process.env);
  } catch (error) {
    throw new ConfigError((error as Error).message);
  }
  if (url === undefined) return undefined;
  const failed = (error: Error) => report('sending traces', error);
  return await startTraces({ url, ratio: tracesRatio, version: packageVersion, failed });
}

/** Where audit lines go, if anywhere; the file is opened anew at SIGHUP. @throws ConfigError if it can not be opened */
function auditWriterOf({ auditLog }: Settings): LineWriter | undefined {
  if (auditLog === undefined) return undefined;
  try {
    const writer = createLineWriter({ target: auditLog, failed: (error) => report('writing the audit log', error) });
    process.on('SIGHUP', writer.reopen);
    return writer;
  } catch (error) {
    throw new ConfigError(`--audit-log ${auditLog}: ${(error as Error).message}`);
  }
}

/** `alone`: this router has the API to itself, and the engine behind it snapshots what it pauses. */
function idleOptions(settings: Settings, client: HttpResourceClient, alone: boolean): IdleOptions {
  const common = { defaultTimeoutMs: settings.idleTimeoutMs, cpuFloorMillicores: settings.idleCpuFloorMillicores };
  if (alone) return { ...common, reportIntervalMs: 0, lease: undefined, podSnapshots: async () => false };
  return {
    ...common,
    reportIntervalMs: settings.activityIntervalMs,
    lease: { namespace: settings.leaseNamespace, name: IDLE_LEASE_NAME },
    podSnapshots: async () =>
      settings.podSnapshots === 'auto' &&
      (await servedVersions(client, 'podsnapshot.gke.io', 'podsnapshotmanualtriggers')).includes('v1'),
  };
}
