import { setTimeout as delay } from 'node:timers/promises';
import type { ObjectKey, ResourceClient } from './client.ts';
import { isApiError } from './errors.ts';
import { LEASES } from './resources.ts';
import type { Lease } from './types.ts';

/** Who stands for election, and where. */
export interface LeaderOptions {
  client: ResourceClient;
  lease: Required<ObjectKey>;
  /** Unique among all who stand. */
  identity: string;
  /** A leader that can't renew for so long is one no more; others wait as long before they take over. */
  durationMs?: number;
  failed(error: unknown): void;
}

/** A stand for election. */
export interface LeaderElection {
  /** Judged by this process's own monotonic clock, so that a clock that jumps makes nobody a leader too long. */
  isLeader(): boolean;
  /** Stops, and gives the lease back so that another may take it at once. */
  close(): Promise<void>;
}

const DURATION_MS = 15_000;

/**
 * Leader election over a coordination.k8s.io Lease, by the rules of client-go: whoever holds it renews it; another takes it only after it saw the same
 * record unchanged for the whole duration by its own clock.
 */
export function startLeaderElection(options: LeaderOptions): LeaderElection {
  const { client, lease: key, identity, durationMs = DURATION_MS } = options;
  const closing = new AbortController();
  let leaderUntilMs = 0;
  let lastFailure = '';
  let observed: { version: string; atMs: number } | undefined;

  async function step(): Promise<void> {
    const startedMs = performance.now();
    const current = await client.get<Lease>(LEASES, key).catch((error) => {
      if (isApiError(error, 'NotFound')) return undefined;
      throw error;
    });
    const spec = { holderIdentity: identity, leaseDurationSeconds: Math.ceil(durationMs / 1000) };
    const now = microTime(new Date());
    if (current === undefined) {
      await client.create<Lease>(LEASES, {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: key,
        spec: { ...spec, acquireTime: now, renewTime: now, leaseTransitions: 0 },
      });
    } else {
      const holder = current.spec.holderIdentity ?? '';
      const version = current.metadata.resourceVersion ?? '';
      if (holder !== '' && holder !== identity) {
        if (observed?.version !== version) observed = { version, atMs: performance.now() };
        const theirsMs = (current.spec.leaseDurationSeconds ?? 15) * 1000;
        if (performance.now() - observed.atMs < theirsMs) return;
      }
      const mine = holder === identity;
      await client.update<Lease>(LEASES, {
        ...current,
        spec: {
          ...current.spec,
          ...spec,
          renewTime: now,
          acquireTime: mine ? (current.spec.acquireTime ?? now) : now,
          leaseTransitions: (current.spec.leaseTransitions ?? 0) + (mine ? 0 : 1),
        },
      });
    }
    // Counted from before the request: the record may be as old as that.
    leaderUntilMs = startedMs + durationMs;
  }

  const running = (async () => {
    while (!closing.signal.aborted) {
      try {
        await step();
      } catch (error) {
        // Somebody else was quicker: looked at again in the next round.
        const lost = isApiError(error, 'Conflict') || isApiError(error, 'AlreadyExists');
        // The same failure again and again is one failure.
        if (!lost && (error as Error).message !== lastFailure) options.failed(error);
        lastFailure = lost ? '' : (error as Error).message;
      }
      await delay(durationMs / 4, undefined, { signal: closing.signal, ref: false }).catch(() => {});
    }
  })();

  const isLeader = () => performance.now() < leaderUntilMs;
  return {
    isLeader,
    close: async () => {
      closing.abort();
      await running;
      if (!isLeader()) return;
      leaderUntilMs = 0;
      const current = await client.get<Lease>(LEASES, key).catch(() => undefined);
      if (current?.spec.holderIdentity !== identity) return;
      await client.update<Lease>(LEASES, { ...current, spec: { ...current.spec, holderIdentity: '' } }).catch(() => {});
    },
  };
}

/** As metav1.MicroTime wants it: six digits. */
function microTime(date: Date): string {
  return date.toISOString().replace('Z', '000Z');
}
