import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { SandboxNetwork } from '../../../network/index.ts';
import { CONTAINER_ID_LENGTH, type ContainerRuntime, type ContainerSpec } from '../../../runtime/index.ts';
import { pausedAgain } from './likelihood.ts';
import { nextStep, type Sleeper, type Waiting } from './plan.ts';
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

/** A container that a sandbox may be restored into. */
export interface Prepared {
  id: string;
  shape: string;
}

/**
 * Containers that wait to be restored into: kernel and network are there, nothing of a sandbox runs or lies in their memory. They belong to no Pod, so an
 * engine that starts again removes them like all that is nobody's.
 */
export interface PreparedContainers {
  /** A sandbox (by UID) was paused whose container was made by this spec; `address` is the one it will ask for. */
  paused(sandbox: string, spec: ContainerSpec, address: string): void;
  /** A sandbox wakes: the container that waits for one like it is its own from now on. */
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

/** Keeps containers ready for the sandboxes that are most likely to be called. */
export function createPreparedContainers(options: PreparedOptions): PreparedContainers {
  const { runtime, network, limits, nowMs, failed } = options;
  const sandboxes = new LRUCache<string, PausedSandbox>({ max: MOST_REMEMBERED });
  const waiting: (Waiting & { bytes: number })[] = [];
  let timer: NodeJS.Timeout | undefined;
  let lookAtMs = Number.POSITIVE_INFINITY;
  let underway: Promise<void> | undefined;
  let closed = false;

  function lookAfter(delayMs: number): void {
    const atMs = nowMs() + delayMs;
    if (closed || limits.count === 0 || runtime.prepare === undefined || atMs >= lookAtMs) return;
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
      const step = closed ? undefined : nextStep({ sleepers, waiting, nowMs: nowMs(), ...room() });
      if (step === undefined) return;
      try {
        if ('remove' in step) await remove(step.remove);
        else await prepare(step.prepare);
      } catch (error) {
        failed('keeping containers ready', error);
        // Not again before its next pause.
        if ('prepare' in step) step.prepare.asleep = false;
      }
    }
  }

  function room(): { most: number; mayGrow: boolean } {
    const { availableBytes, totalBytes } = options.memory();
    const usedBytes = waiting.reduce((sum, { bytes }) => sum + bytes, 0);
    const eachBytes = waiting.length === 0 ? ASSUMED_BYTES : usedBytes / waiting.length;
    const most = Math.min(limits.count, Math.floor(limits.bytes / eachBytes));
    if (availableBytes < totalBytes * SHORT_SHARE)
      return { most: Math.min(most, Math.max(0, waiting.length - 1)), mayGrow: false };
    return { most, mayGrow: availableBytes >= totalBytes * SCARCE_SHARE };
  }

  async function prepare({ spec, shape, address }: PausedSandbox): Promise<void> {
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

  return {
    paused: (sandbox, spec, address) => {
      const likelihood = pausedAgain(sandboxes.get(sandbox), nowMs());
      sandboxes.set(sandbox, { ...likelihood, spec, shape: shapeOf(spec), address, asleep: true });
      lookAfter(QUIET_MS);
    },
    take: (sandbox) => {
      const entry = sandboxes.get(sandbox);
      if (entry === undefined || !entry.asleep) return undefined;
      entry.asleep = false;
      lookAfter(LOOK_MS);
      const position = waiting.findIndex(({ shape }) => shape === entry.shape);
      return position === -1 ? undefined : waiting.splice(position, 1)[0];
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
    },
  };
}
