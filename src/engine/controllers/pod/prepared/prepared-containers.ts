import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { SandboxNetwork } from '../../../network/index.ts';
import { CONTAINER_ID_LENGTH, type ContainerRuntime, type ContainerSpec } from '../../../runtime/index.ts';
import { pausedAgain } from './likelihood.ts';
import { nextStep, type Sleeper, type Waiting, type WaitingNetwork } from './plan.ts';
import { shapeOf } from './shape.ts';

/** Bounds of what is kept ready. */
export interface PreparedLimits {
  /** Containers that wait at once; 0 for none. */
  count: number;
  /** Memory of all of them. */
  bytes: number;
}

/** What keeping containers ready needs. */
export interface PreparedOptions {
  runtime: Pick<ContainerRuntime, 'prepare' | 'stop'>;
  network: Pick<SandboxNetwork, 'prepare' | 'detach'>;
  limits: PreparedLimits;
  /** Memory of this machine. */
  memory(): { availableBytes: number; totalBytes: number };
  nowMs(): number;
  failed(what: string, error: unknown): void;
}

/** A container that a sandbox may be restored into, or, without a shape, just the network for one of this id. */
export interface Prepared {
  id: string;
  shape?: string;
}

/**
 * Containers that wait to be restored into: kernel and network are there, nothing of a sandbox runs or lies in their memory. For sandboxes that are less likely to
 * be called, or for which no container may wait, only the network is there. All of that belongs to no Pod, so an engine that starts again removes it like all
 * that is nobody's.
 */
export interface PreparedContainers {
  /**
   * A sandbox (by UID) was paused whose container was made by this spec; `address` is the one it will ask for. With `ownFiles`, made for one Pod, its next
   * container can't be made before that Pod is there, only its network.
   */
  paused(sandbox: string, spec: ContainerSpec, address: string, ownFiles?: boolean): void;
  /** A sandbox wakes: the container that waits for one like it, or else the network that waits for it, is its own from now on. */
  take(sandbox: string): Prepared | undefined;
  /** A sandbox is gone. */
  forget(sandbox: string): void;
  /** Removes a container that was taken and can't be used. */
  discard(prepared: Prepared): Promise<void>;
  /** Removes all and prepares no more. */
  close(): Promise<void>;
}

interface PausedSandbox extends Sleeper {
  spec: ContainerSpec;
  address: string;
  asleep: boolean;
}

/** A pause is over, and a wake that follows at once is not in the way, before anything is prepared. */
const QUIET_MS = 250;
/** How often it is looked whether sandboxes became unlikely or memory short. */
const LOOK_MS = 2000;
/** What one takes until one was measured. */
const ASSUMED_BYTES = 32 * 2 ** 20;
/** Shares of the machine's memory: below the first something goes, below the second nothing comes. */
const SHORT_SHARE = 0.1;
const SCARCE_SHARE = 0.15;
const MOST_REMEMBERED = 1000;
/** Networks that wait at most: a namespace takes some 100 KB of the kernel's memory. */
const MOST_NETWORKS = 16;

/** Keeps containers ready for the sandboxes that are most likely to be called. */
export function createPreparedContainers(options: PreparedOptions): PreparedContainers {
  const { runtime, network, limits, nowMs, failed } = options;
  const sandboxes = new LRUCache<string, PausedSandbox>({ max: MOST_REMEMBERED });
  const waiting: (Waiting & { bytes: number })[] = [];
  const networks: WaitingNetwork<PausedSandbox>[] = [];
  let timer: NodeJS.Timeout | undefined;
  let lookAtMs = Number.POSITIVE_INFINITY;
  let underway: Promise<void> | undefined;
  let closed = false;

  function lookAfter(delayMs: number): void {
    const atMs = nowMs() + delayMs;
    if (closed || runtime.prepare === undefined || atMs >= lookAtMs) return;
    clearTimeout(timer);
    lookAtMs = atMs;
    timer = setTimeout(() => {
      lookAtMs = Number.POSITIVE_INFINITY;
      underway ??= bringAbout().finally(() => {
        underway = undefined;
        if (sandboxes.size > 0) lookAfter(LOOK_MS);
      });
    }, delayMs);
    timer.unref();
  }

  async function bringAbout(): Promise<void> {
    for (;;) {
      const sleepers = [...sandboxes.values()].filter(({ asleep }) => asleep);
      const step = closed ? undefined : nextStep({ sleepers, waiting, networks, nowMs: nowMs(), ...room() });
      if (step === undefined) return;
      try {
        if ('remove' in step) await remove(step.remove);
        else if ('disconnect' in step) await disconnect(step.disconnect);
        else if ('prepare' in step) await prepare(step.prepare);
        else await connect(step.connect);
      } catch (error) {
        failed('keeping containers ready', error);
        // Not again before its next pause.
        if ('prepare' in step) step.prepare.asleep = false;
        if ('connect' in step) step.connect.asleep = false;
      }
    }
  }

  function room(): { most: number; mostNetworks: number; mayGrow: boolean } {
    const { availableBytes, totalBytes } = options.memory();
    const usedBytes = waiting.reduce((sum, { bytes }) => sum + bytes, 0);
    const eachBytes = waiting.length === 0 ? ASSUMED_BYTES : usedBytes / waiting.length;
    const most = Math.min(limits.count, Math.floor(limits.bytes / eachBytes));
    if (availableBytes < totalBytes * SHORT_SHARE)
      return { most: Math.min(most, Math.max(0, waiting.length - 1)), mostNetworks: 0, mayGrow: false };
    return { most, mostNetworks: MOST_NETWORKS, mayGrow: availableBytes >= totalBytes * SCARCE_SHARE };
  }

  async function prepare({ spec, shape = shapeOf(spec), address }: PausedSandbox): Promise<void> {
    const id = randomBytes(CONTAINER_ID_LENGTH / 2).toString('hex');
    try {
      const attachment = await network.prepare(id, address);
      const bytes = (await runtime.prepare?.({ ...spec, id, network: attachment }))?.memoryBytes ?? 0;
      waiting.push({ id, shape, bytes });
    } catch (error) {
      await network.detach(id);
      throw error;
    }
  }

  async function remove(id: string): Promise<void> {
    const position = waiting.findIndex((candidate) => candidate.id === id);
    if (position !== -1) waiting.splice(position, 1);
    await runtime.stop(id, 0);
    await network.detach(id);
  }

  async function connect(sleeper: PausedSandbox): Promise<void> {
    const id = randomBytes(CONTAINER_ID_LENGTH / 2).toString('hex');
    await network.prepare(id, sleeper.address);
    networks.push({ id, sleeper });
  }

  async function disconnect(waitingNetwork: WaitingNetwork<PausedSandbox>): Promise<void> {
    networks.splice(networks.indexOf(waitingNetwork), 1);
    await network.detach(waitingNetwork.id);
  }

  return {
    paused: (sandbox, spec, address, ownFiles = false) => {
      const likelihood = pausedAgain(sandboxes.get(sandbox), nowMs());
      const shape = ownFiles ? undefined : shapeOf(spec);
      sandboxes.set(sandbox, { ...likelihood, spec, shape, address, asleep: true });
      lookAfter(QUIET_MS);
    },
    take: (sandbox) => {
      const entry = sandboxes.get(sandbox);
      if (entry === undefined || !entry.asleep) return undefined;
      entry.asleep = false;
      lookAfter(LOOK_MS);
      const position = waiting.findIndex(({ shape }) => shape === entry.shape);
      if (position !== -1) return waiting.splice(position, 1)[0];
      const own = networks.findIndex(({ sleeper }) => sleeper === entry);
      const [taken] = own === -1 ? [] : networks.splice(own, 1);
      return taken && { id: taken.id };
    },
    forget: (sandbox) => {
      if (sandboxes.delete(sandbox)) lookAfter(0);
    },
    discard: ({ id }) => remove(id),
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await underway;
      for (const { id } of [...waiting]) await remove(id);
      for (const each of [...networks]) await disconnect(each);
    },
  };
}
