import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/free-port.ts';
import { startServe, writeKeys } from '../../test/support/serve.ts';
import type { RequestTarget } from './load.ts';
import { familyOf, type Measured, onCore, startMeasured } from './processes.ts';

/** Something that answers requests, under measurement. */
export interface Contender {
  name: string;
  version: string;
  url: string;
  headers: Record<string, string>;
  /** What it is asked for, where that is more than one path below its URL. */
  targets?: readonly RequestTarget[];
  process: Measured;
}

/** A router of a bench: `url` is that of its first sandbox. */
export interface BenchRouter extends Contender {
  /** `http://host:port` */
  origin: string;
  adminUrl: string;
}

/** Sandboxes of which each is the same upstream on core 1, where the load belongs too; whatever is started ends with it. */
export interface World {
  directory: string;
  /** Path of a sandbox at the router; by default that of the first. */
  pathOf(index?: number): string;
  /** What a router asks for. */
  headers: Record<string, string>;
  upstream: Measured;
  upstreamPort: number;
  /** What plays the API server. */
  clusterPid: number;
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
}

const support = dirname(fileURLToPath(import.meta.url));

/** Starts the sandbox's part on a port of every address of this machine. */
export type UpstreamStart = (port: number) => Promise<Measured>;

/** Starts an upstream and a fake cluster of so many sandboxes, and moves this process to core 1. `upstream` is the script of another one than usual, or how it is started. */
export async function startWorld({
  sandboxes = 1,
  upstream: start = 'upstream.ts',
}: {
  sandboxes?: number;
  upstream?: string | UpstreamStart;
} = {}): Promise<World> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-bench-'));
  const started: { stop(): Promise<unknown> }[] = [];
  onCore(1, process.pid);
  const upstreamPort = await freePort();
  const upstream = await (typeof start === 'string' ? startScript(start, upstreamPort) : start(upstreamPort));
  started.push(upstream);
  // In a process of its own, as the load of this one must not hold it up.
  const cluster = fork(join(support, 'fake-cluster-process.ts'), [String(sandboxes), String(upstreamPort)]);
  const clusterPid = cluster.pid as number;
  onCore(1, clusterPid);
  started.push({ stop: async () => cluster.disconnect() });
  const [{ kubeconfig: text }] = (await once(cluster, 'message')) as [{ kubeconfig: string }];
  const kubeconfig = join(directory, 'kubeconfig');
  writeFileSync(kubeconfig, text);
  const keys = writeKeys(directory, { bench: { tenant: 'team-0', scopes: ['route'], namespaces: '*' } });
  const headers = { authorization: `Bearer ${keys.tokens.bench}` };
  const pathOf = (index = 0) => `/sandbox-${index}.team-${index % 100}`;
  return {
    directory,
    pathOf,
    headers,
    upstream,
    upstreamPort,
    clusterPid,
    keep: (kept) => {
      started.push(kept);
      return kept;
    },
    startRouter: async ({ name = 'router', flags = [], environment = {}, nodeOptions = [] } = {}) => {
      const router = await startServe({
        kubeconfig,
        keys: keys.path,
        flags,
        node: { options: nodeOptions, environment: { SANDBOX_ROUTER_ACCESS_LOG: 'false', ...environment } },
      });
      started.push(router);
      while (!(await fetch(`${router.adminUrl}/readyz`)).ok) await delay(50);
      for (const pid of familyOf(router.pid)) onCore(0, pid);
      const { url: origin, adminUrl } = router;
      return { name, version: process.version, url: origin + pathOf(), headers, process: router, origin, adminUrl };
    },
    close: async () => {
      for (const each of started.reverse()) await each.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function startScript(name: string, port: number): Promise<Measured> {
  const upstream = await startMeasured(process.execPath, [join(support, name), String(port), '0.0.0.0'], port);
  onCore(1, upstream.pid);
  return upstream;
}
