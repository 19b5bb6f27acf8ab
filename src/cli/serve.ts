import { readFileSync, watchFile } from 'node:fs';
import { Command } from 'commander';
import { ConfigError, isLoopback, parseListenAddress, type Settings } from '../config/index.ts';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  IDLE_LEASE_NAME,
  loadKubeConfig,
  servedVersions,
} from '../kubernetes/index.ts';
import {
  createApiKeyAuthenticator,
  createIdentity,
  type Identity,
  type IdleOptions,
  parseApiKeys,
  type Router,
  type StoredApiKey,
  startRouter,
  upTokenKey,
} from '../router/index.ts';
import { report } from './report.ts';
import { addSettingOptions, settingsFrom } from './setting-options.ts';
import { untilSignal } from './signals.ts';

/** `sandbox-router serve`: the router in front of a cluster. */
export function serveCommand(): Command {
  return addSettingOptions(new Command('serve'), 'serve')
    .description('run the router in front of a Kubernetes cluster with Agent Sandbox')
    .action((options: Record<string, unknown>) => serve(settingsFrom(options, 'serve')));
}

async function serve(settings: Settings): Promise<void> {
  const stopAsked = untilSignal();
  const router = await startConfiguredRouter(settings, settings.kubeconfig, undefined);
  console.log(`  router  ${router.url}\n  admin   ${router.adminUrl}`);
  await stopAsked;
  await router.close();
}

/** Starts a router by the settings. `upTokenFile` is the token of `up`, which reaches everything. @throws ConfigError where nobody could get in, or anybody */
export async function startConfiguredRouter(
  settings: Settings,
  kubeconfig: string | undefined,
  upTokenFile: string | undefined,
): Promise<Router> {
  const listen = parseListenAddress(settings.listen);
  if (settings.insecureNoAuth && !isLoopback(listen.host))
    throw new ConfigError(
      `--insecure-no-auth would let anybody in who reaches ${settings.listen}: it works with loopback addresses only.`,
    );
  const client = createHttpResourceClient(loadKubeConfig(kubeconfig === undefined ? {} : { path: kubeconfig }));
  return await startRouter({
    client,
    namespaces: settings.namespaces,
    sandboxSelector: settings.sandboxSelector,
    listen,
    adminListen: parseListenAddress(settings.adminListen),
    identity: identityOf(settings, upTokenFile),
    baseDomain: settings.baseDomain,
    pathPrefix: settings.pathPrefix,
    trustedProxies: settings.trustedProxies,
    wakeLimits: {
      holdTimeoutMs: settings.holdTimeoutMs,
      heldPerSandbox: settings.heldPerSandbox,
      heldTotal: settings.heldTotal,
    },
    idle: idleOptions(settings, client, upTokenFile !== undefined),
    maxBodyBytes: settings.maxBodyBytes,
    shutdownDelayMs: settings.shutdownDelayMs,
    drainTimeoutMs: settings.drainTimeoutMs,
    accessLog: settings.accessLog ? (line) => process.stdout.write(`${line}\n`) : undefined,
    report,
  });
}

/** `alone`: this router has the API to itself, and the engine behind it snapshots what it pauses. */
function idleOptions(settings: Settings, client: HttpResourceClient, alone: boolean): IdleOptions {
  const defaultTimeoutMs = settings.idleTimeoutMs;
  if (alone) return { defaultTimeoutMs, reportIntervalMs: 0, lease: undefined, podSnapshots: async () => false };
  return {
    defaultTimeoutMs,
    reportIntervalMs: settings.activityIntervalMs,
    lease: { namespace: settings.leaseNamespace, name: IDLE_LEASE_NAME },
    podSnapshots: async () =>
      settings.podSnapshots === 'auto' &&
      (await servedVersions(client, 'podsnapshot.gke.io', 'podsnapshotmanualtriggers')).includes('v1'),
  };
}

function identityOf(settings: Settings, upTokenFile: string | undefined): Identity | undefined {
  if (settings.insecureNoAuth) return undefined;
  const own = upTokenFile === undefined ? [] : [upTokenKey(upTokenFile)];
  const { apiKeysFile } = settings;
  if (apiKeysFile === undefined) {
    if (own.length === 0)
      throw new ConfigError(
        'Nobody could get in: give --api-keys-file, or --insecure-no-auth with a loopback address.',
      );
    return createIdentity([createApiKeyAuthenticator(() => own)]);
  }
  let keys: StoredApiKey[] = [...own, ...readKeys(apiKeysFile)];
  const identity = createIdentity([createApiKeyAuthenticator(() => keys)]);
  watchFile(apiKeysFile, { interval: 1000, persistent: false }, () => {
    try {
      keys = [...own, ...readKeys(apiKeysFile)];
      identity.forget();
    } catch (error) {
      report('the changed API keys are refused, the earlier ones stay', error);
    }
  });
  return identity;
}

function readKeys(path: string): StoredApiKey[] {
  try {
    return parseApiKeys(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new ConfigError(`${path}: ${(error as Error).message}`);
  }
}
