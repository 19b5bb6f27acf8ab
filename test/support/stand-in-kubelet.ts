import { once } from 'node:events';
import type { Server } from 'node:http';
import { createServer, type Socket } from 'node:net';

import {
  createReflector,
  isApiError,
  POD_RESTORED_CONDITION,
  PODS,
  type Pod,
  type ResourceClient,
} from '../../src/kubernetes/index.ts';
import { createEcho } from './echo-program.mjs';

/** How the stand-in behaves. */
export interface KubeletOptions {
  client: ResourceClient;
  nodeName: string;
  /** Port on which every pod's echo server listens, each on a loopback address of its own. */
  port: number;
  /** From seeing a pod to its being ready. */
  startMs?: number | ((pod: Pod) => number);
  /** Address of a pod; by default the next free one. */
  addressOf?: (pod: Pod) => string | undefined;
  /** Pods that never start. */
  skips?: (pod: Pod) => boolean;
  /** Pods that say of themselves that they go on from a snapshot. */
  restores?: (pod: Pod) => boolean;
}

/** Runs the pods of one node as servers in this process. */
export interface StandInKubelet {
  synced: Promise<void>;
  /** Requests' pods by UID, while they run. */
  running(): string[];
  /** Pods that were between being seen and being told to be ready, at most. */
  mostStarting(): number;
  /** Ends what runs in the pods of this name, as a node that fails does: the API is told nothing. */
  kill(name: string): Promise<void>;
  close(): Promise<void>;
}

interface RunningPod {
  name: string;
  server: Server;
  sockets: Set<Socket>;
  address: string;
}

/** Sets pods' status as a kubelet would, with real servers behind the addresses. */
export function startStandInKubelet(options: KubeletOptions): StandInKubelet {
  const { client, nodeName, port, startMs = 0 } = options;
  const range = reserveRange(port);
  const pods = new Map<string, RunningPod>();
  const seen = new Set<string>();
  let next = 1;
  let starting = 0;
  let mostStarting = 0;

  async function start(pod: Pod): Promise<void> {
    const { uid = '', namespace = '', name } = pod.metadata;
    const { octet } = await range;
    const address = options.addressOf?.(pod) ?? `127.${octet}.${next >> 8}.${next++ & 0xff}`;
    const server = createEcho(name);
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, address, resolve));
    const sockets = new Set<Socket>();
    server.on('connection', (socket) => sockets.add(socket.once('close', () => sockets.delete(socket))));
    pods.set(uid, { name, server, sockets, address });
    mostStarting = Math.max(mostStarting, ++starting);
    const waitMs = typeof startMs === 'number' ? startMs : startMs(pod);
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    starting--;
    const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const condition = (type: string) => ({ type, status: 'True' as const, lastTransitionTime: now });
    await client.patch(
      PODS,
      { namespace, name },
      {
        metadata: { uid },
        status: {
          phase: 'Running',
          podIP: address,
          podIPs: [{ ip: address }],
          startTime: now,
          conditions: [
            ...(options.restores?.(pod) ? [POD_RESTORED_CONDITION] : []),
            ...['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'],
          ].map(condition),
          containerStatuses: pod.spec.containers.map((container) => ({
            name: container.name,
            image: container.image ?? '',
            imageID: '',
            ready: true,
            started: true,
            restartCount: 0,
            state: { running: { startedAt: now } },
          })),
        },
      },
      { type: 'merge', subresource: 'status' },
    );
  }

  async function stop(uid: string): Promise<void> {
    const running = pods.get(uid);
    if (running === undefined) return;
    pods.delete(uid);
    // Upgraded ones too, as with the end of a process.
    for (const socket of running.sockets) socket.destroy();
    await new Promise<void>((resolve) => running.server.close(() => resolve()));
  }

  async function end(pod: Pod): Promise<void> {
    const { uid = '', namespace = '', name } = pod.metadata;
    await stop(uid);
    await client.delete(PODS, { namespace, name }, { uid, gracePeriodSeconds: 0 });
  }

  /** What a test deleted or closed meanwhile is no failure. */
  const quiet = (error: unknown) => {
    if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict') && !isApiError(error, 'Unreachable'))
      throw error;
  };

  const reflector = createReflector({
    client,
    type: PODS,
    listing: () => {},
    listed: () => {},
    upserted: (object) => {
      const pod = object as Pod;
      const { uid = '', deletionTimestamp } = pod.metadata;
      if (pod.spec.nodeName !== nodeName || options.skips?.(pod)) return;
      if (deletionTimestamp !== undefined) end(pod).catch(quiet);
      else if (!seen.has(uid)) {
        seen.add(uid);
        start(pod).catch(quiet);
      }
    },
    deleted: ({ metadata }) => void stop(metadata.uid ?? ''),
  });
  return {
    synced: reflector.synced,
    running: () => [...pods.keys()],
    mostStarting: () => mostStarting,
    kill: async (name) => {
      for (const [uid, pod] of pods) if (pod.name === name) await stop(uid);
    },
    close: async () => {
      reflector.close();
      await Promise.all([...pods.keys()].map(stop));
      (await range).release();
    },
  };
}

/** A range of loopback addresses that no other stand-in of this machine uses with this port: its last address is listened on for as long. */
async function reserveRange(port: number): Promise<{ octet: number; release: () => void }> {
  for (let octet = 20; octet < 250; octet++) {
    const marker = createServer();
    const taken = once(marker, 'listening').then(
      () => true,
      () => false,
    );
    marker.listen(port, `127.${octet}.255.254`);
    if (await taken) return { octet, release: () => marker.close() };
  }
  throw new Error(`every range of loopback addresses is in use with port ${port}`);
}
