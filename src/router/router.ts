import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { createAdminServer } from './admin-server.ts';
import { followCluster } from './cluster.ts';
import { createFront } from './front.ts';
import { startIdlePausing } from './idle-pausing.ts';
import { startLimitSharing } from './limit-sharing.ts';
import type { RouterOptions } from './options.ts';
import { createRoutingTable } from './table/index.ts';

/** A router that listens. */
export interface Router {
  url: string;
  adminUrl: string;
  /** Resolves when the routing table is complete for the first time. */
  synced: Promise<void>;
  /** Opens a connection to the router for a caller whom this process has authenticated. @throws Error where it makes none, or with the system's code */
  connect(): Promise<Duplex>;
  /** Turns unready, then stops taking requests, waits for those under way within the drain timeout, then ends. */
  close(): Promise<void>;
}

/** Starts a router in this process: follows the cluster, answers requests, pauses what is idle. */
export async function startRouter(options: RouterOptions): Promise<Router> {
  const cluster = followCluster(options, createRoutingTable());
  const front = createFront(options, cluster);
  const sharing = startLimitSharing({ ...options, share: options.policy.tenants.share });
  const idle = startIdlePausing({
    ...options,
    cluster,
    activity: front.activity,
    ledger: front.ledger,
    uses: front.uses,
    transitions: front.transitions,
    paused: front.metrics.idlePause,
  });
  let draining = false;
  const admin = createAdminServer(
    () => ({
      ready: cluster.isSynced() && cluster.isPolicySynced() && !draining,
      draining,
      tableSynced: cluster.isSynced(),
      tableAgeSeconds: Math.round(cluster.ageMs() / 1000),
      sandboxes: cluster.table.size(),
      suspectPods: cluster.table.suspectCount(),
      limitsSharedBy: sharing.replicas(),
      configurationRefusal: options.configurationRefusal(),
      restartNeededFor: options.restartNeededFor(),
    }),
    front.metrics.registry,
  );
  try {
    await front.listen(options.listen);
    await admin.listen(options.adminListen);
  } catch (error) {
    cluster.close();
    await Promise.all([front.close(0), admin.close(), idle.close(), sharing.close()]);
    throw error;
  }
  return {
    url: urlOf(portOf(front.server), options.listen.host, schemeOf(options)),
    adminUrl: urlOf(portOf(admin.server), options.adminListen.host, 'http'),
    synced: cluster.synced,
    connect: async () => {
      if (options.ownConnections === undefined) throw new Error('this router is reached by its address only');
      const address = loopbackOf(options.listen.host);
      return await options.ownConnections.open({ address, port: portOf(front.server) }, options.tls !== undefined);
    },
    close: async () => {
      draining = true;
      await Promise.all([idle.close(), sharing.close()]);
      await front.close(options.shutdownDelayMs);
      cluster.close();
      await admin.close();
    },
  };
}

/** Where this machine reaches a listener. */
function loopbackOf(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

function portOf(server: { address(): AddressInfo | string | null }): number {
  return (server.address() as AddressInfo).port;
}

/** Scheme of the proxy's URLs. */
export function schemeOf({ tls }: Pick<RouterOptions, 'tls'>): string {
  return tls === undefined ? 'http' : 'https';
}

/** URL of a server that listens on a port of this host. */
export function urlOf(port: number, host: string, scheme: string): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
