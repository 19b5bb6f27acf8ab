import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocketServer } from 'ws';
import type { FakeSandbox } from './fake-cluster.ts';

/** Pods of a soak: one server for each sandbox, which can die and be followed by another at another address. */
export interface SoakPods {
  /** Kills a sandbox's pod and starts the next one; the record of the sandbox has its address then. `number` makes addresses differ. */
  replace(index: number, number: number): Promise<void>;
  /** Whether a sandbox's pod died, or there was none, at some time since then (monotonic milliseconds). */
  diedSince(index: number, sinceMs: number): boolean;
  replaced(): number;
  stop(): Promise<void>;
}

/** How long a sandbox is without a pod. */
const GAP_MS = 50;
/** What the API tells of, the router knows a moment later. */
const TOLD_MS = 100;
const LARGE = Buffer.alloc(262_144, 'x');

/** Starts a pod for each sandbox, at the address that its record says. */
export async function createSoakPods(sandboxes: FakeSandbox[]): Promise<SoakPods> {
  const pods: { server: Server; tunnels: Set<Duplex> }[] = [];
  const gapEndedMs = new Map<number, number>();
  const inGap = new Set<number>();
  let replaced = 0;

  async function start(index: number): Promise<void> {
    const { address, port } = sandboxes[index] as FakeSandbox;
    const server = createServer((request, response) => {
      if (request.url === '/large') response.end(LARGE);
      else if (request.method === 'POST') request.resume().on('end', () => response.end('taken'));
      else response.end('hello');
    });
    const tunnels = new Set<Duplex>();
    const sockets = new WebSocketServer({ noServer: true });
    server.on('upgrade', (request, socket, head) => {
      tunnels.add(socket.on('close', () => tunnels.delete(socket)));
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        webSocket.on('message', (data) => webSocket.send(data));
        webSocket.on('error', () => {});
      });
    });
    server.keepAliveTimeout = 0;
    server.listen(port, address);
    await once(server, 'listening');
    pods[index] = { server, tunnels };
  }

  function kill(index: number): void {
    const { server, tunnels } = pods[index] as (typeof pods)[number];
    server.close();
    server.closeAllConnections();
    for (const tunnel of tunnels) tunnel.destroy();
  }

  for (const index of sandboxes.keys()) await start(index);
  return {
    replace: async (index, number) => {
      inGap.add(index);
      kill(index);
      await delay(GAP_MS);
      const sandbox = sandboxes[index] as FakeSandbox;
      sandbox.address = `127.1.${1 + (number % 200)}.${index + 1}`;
      await start(index);
      replaced++;
      inGap.delete(index);
      gapEndedMs.set(index, performance.now() + TOLD_MS);
    },
    diedSince: (index, sinceMs) => inGap.has(index) || (gapEndedMs.get(index) ?? 0) >= sinceMs,
    replaced: () => replaced,
    stop: async () => {
      for (const index of pods.keys()) kill(index);
    },
  };
}
