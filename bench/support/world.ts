import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/free-port.ts';
import { startServe, writeKeys } from '../../test/support/serve.ts';
import { startFakeCluster } from './fake-cluster.ts';
import { type Measured, onCore, startMeasured } from './processes.ts';

/** Something that answers requests, under measurement. */
export interface Contender {
  name: string;
  version: string;
  url: string;
  headers: Record<string, string>;
  process: Measured;
}

/** A router of a bench: `url` is that of its sandbox `box`. */
export interface BenchRouter extends Contender {
  /** `http://host:port` */
  origin: string;
  adminUrl: string;
}

/** One sandbox, `box`, on core 1, where the load belongs too; whatever is started ends with it. */
export interface World {
  directory: string;
  upstream: Measured;
  upstreamPort: number;
  /** `serve` in front of the fake cluster on core 0, as one runs it: with a key, and everything on but the access log. */
  startRouter(options?: RouterStart): Promise<BenchRouter>;
  /** Ends with the world. */
  keep<Kept extends { stop(): Promise<unknown> }>(started: Kept): Kept;
  close(): Promise<void>;
}

/** How a router differs from the usual one. */
export interface RouterStart {
  name?: string;
  flags?: string[];
  environment?: Record<string, string>;
  /** Options of Node, such as `--cpu-prof`. */
  nodeOptions?: string[];
  /** Where it may run; undefined for anywhere. */
  core?: number | undefined;
}

const support = dirname(fileURLToPath(import.meta.url));

/** Starts an upstream and a fake cluster, and moves this process to core 1. */
export async function startWorld(): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const started: { stop(): Promise<unknown> }[] = [];
  onCore(1, process.pid);
  const upstreamPort = await freePort();
  const upstream = await startMeasured(
    process.execPath,
    [join(support, 'upstream.ts'), String(upstreamPort)],
    upstreamPort,
  );
  onCore(1, upstream.pid);
  const cluster = await startFakeCluster([
    { namespace: 'default', name: 'box', address: '127.0.0.1', port: upstreamPort },
  ]);
  started.push({ stop: () => cluster.close() }, upstream);
  const kubeconfig = join(directory, 'kubeconfig');
  writeFileSync(kubeconfig, cluster.kubeconfig);
  const keys = writeKeys(directory, { bench: { tenant: 'default', scopes: ['route'] } });
  const headers = { authorization: `Bearer ${keys.tokens.bench}` };
  return {
    directory,
    upstream,
    upstreamPort,
    keep: (kept) => {
      started.push(kept);
      return kept;
    },
    startRouter: async ({ name = 'router', flags = [], environment = {}, nodeOptions = [], core = 0 } = {}) => {
      const router = await startServe({
        kubeconfig,
        keys: keys.path,
        flags,
        node: { options: nodeOptions, environment: { SANDBOX_ROUTER_ACCESS_LOG: 'false', ...environment } },
      });
      started.push(router);
      while (!(await fetch(`${router.adminUrl}/readyz`)).ok) await delay(20);
      onCore(core, router.pid);
      const { url: origin, adminUrl } = router;
      return { name, version: process.version, url: `${origin}/box`, headers, process: router, origin, adminUrl };
    },
    close: async () => {
      for (const each of started.reverse()) await each.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
