import { setTimeout as delay } from 'node:timers/promises';
import type { ResourceClient } from './client.ts';
import { isApiError } from './errors.ts';
import { REPLICA_LEASE_PREFIX, REPLICA_SLOTS } from './names.ts';
import { LEASES } from './resources.ts';
import type { Lease } from './types.ts';

/** Who is counted, and where. */
export interface ReplicaOptions {
  client: ResourceClient;
  namespace: string;
  /** Unique among all who are counted. */
  identity: string;
  /** Whoever did not renew for so long is gone. */
  durationMs?: number;
  /** Told when the count or the rank changes. */
  changed(place: { rank: number; replicas: number }): void;
  failed(error: unknown): void;
}

/** A place among the replicas. */
export interface ReplicaCount {
  /** Stops, and gives its place back, so that the others count it no more at once. */
  close(): Promise<void>;
}

const DURATION_MS = 15_000;
const LABEL = 'sandbox-router/replica';

/**
 * Counts the live replicas by one coordination.k8s.io Lease each, in numbered slots: names that RBAC can list. Whoever holds a slot renews it; a slot whose record
 * did not change for the whole duration, by our own clock and while the API server answered, is free. While the server is away the last count stays.
 */
export function startReplicaCount(options: ReplicaOptions): ReplicaCount {
  const { client, namespace, identity, durationMs = DURATION_MS } = options;
  const closing = new AbortController();
  const observed = new Map<string, { version: string; atMs: number }>();
  let lastContactMs = Number.NEGATIVE_INFINITY;
  let lastFailure = '';
  let place = '';
  let mine: string | undefined;

  const nameOf = (slot: number) => `${REPLICA_LEASE_PREFIX}${slot}`;
  const isOurs = ({ spec }: Lease) => spec.holderIdentity === identity;

  /** Whether somebody holds it who still renews it. */
  function isLive({ metadata, spec }: Lease, nowMs: number): boolean {
    if ((spec.holderIdentity ?? '') === '') return false;
    const version = metadata.resourceVersion ?? '';
    const known = observed.get(metadata.name);
    if (known === undefined || known.version !== version) {
      observed.set(metadata.name, { version, atMs: nowMs });
      return true;
    }
    return nowMs - known.atMs < (spec.leaseDurationSeconds ?? durationMs / 1000) * 1000;
  }

  /** The same failure again and again is one failure. */
  function report(error: unknown): void {
    if ((error as Error).message !== lastFailure) options.failed(error);
    lastFailure = (error as Error).message;
  }

  async function step(): Promise<void> {
    const { items } = await client.list<Lease>(LEASES, { namespace, labelSelector: LABEL });
    const nowMs = performance.now();
    // Nobody could renew what we could not read.
    if (nowMs - lastContactMs > durationMs / 2) observed.clear();
    lastContactMs = nowMs;
    const bySlot = new Map(items.map((lease) => [lease.metadata.name, lease]));
    const live = new Set(
      items.filter((lease) => isOurs(lease) || isLive(lease, nowMs)).map(({ metadata }) => metadata.name),
    );
    const held = items.find(isOurs);
    if (held !== undefined) await renew(held);
    else await take(bySlot, live);
    if (mine !== undefined) live.add(mine);
    const names = [...live].sort((left, right) => slotOf(left) - slotOf(right));
    // Without a slot it comes after all that have one.
    const rank = mine === undefined ? names.length : names.indexOf(mine);
    const replicas = names.length + (mine === undefined ? 1 : 0);
    if (place === `${rank}/${replicas}`) return;
    place = `${rank}/${replicas}`;
    options.changed({ rank, replicas });
  }

  const recordOf = (lease: Pick<Lease, 'spec'>) => ({
    ...lease.spec,
    holderIdentity: identity,
    leaseDurationSeconds: Math.ceil(durationMs / 1000),
    renewTime: new Date().toISOString().replace('Z', '000Z'),
  });

  async function renew(lease: Lease): Promise<void> {
    await client.update<Lease>(LEASES, { ...lease, spec: recordOf(lease) });
    mine = lease.metadata.name;
  }

  async function take(bySlot: ReadonlyMap<string, Lease>, live: ReadonlySet<string>): Promise<void> {
    mine = undefined;
    for (let slot = 0; slot < REPLICA_SLOTS; slot++) {
      const name = nameOf(slot);
      if (live.has(name)) continue;
      const lease = bySlot.get(name);
      if (lease !== undefined) await renew(lease);
      else
        await client.create<Lease>(LEASES, {
          apiVersion: 'coordination.k8s.io/v1',
          kind: 'Lease',
          metadata: { namespace, name, labels: { [LABEL]: '' } },
          spec: recordOf({ spec: {} }),
        });
      mine = name;
      return;
    }
    report(new Error(`there are more than ${REPLICA_SLOTS} routers: those beyond do not count each other`));
  }

  const running = (async () => {
    while (!closing.signal.aborted) {
      let again = false;
      try {
        await step();
      } catch (error) {
        // Somebody else took the slot first: the next is looked for at once.
        again = isApiError(error, 'Conflict') || isApiError(error, 'AlreadyExists');
        if (!again) report(error);
      }
      const waitMs = again ? 50 + Math.random() * 100 : durationMs / 3;
      await delay(waitMs, undefined, { signal: closing.signal, ref: false }).catch(() => {});
    }
  })();

  return {
    close: async () => {
      closing.abort();
      await running;
      if (mine === undefined) return;
      const lease = await client.get<Lease>(LEASES, { namespace, name: mine }).catch(() => undefined);
      if (lease === undefined || !isOurs(lease)) return;
      await client.update<Lease>(LEASES, { ...lease, spec: { ...lease.spec, holderIdentity: '' } }).catch(() => {});
    },
  };
}

function slotOf(name: string): number {
  return Number(name.slice(REPLICA_LEASE_PREFIX.length));
}
