import assert from 'node:assert/strict';
import {
  CONFIG_MAPS,
  isApiError,
  type KubernetesObject,
  POD_SNAPSHOT_MANUAL_TRIGGERS,
  type ResourceClient,
  type ResourceType,
  SANDBOX_CLAIMS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
} from '../../../src/kubernetes/index.ts';
import type { Random } from '../random.ts';
import { until } from '../until.ts';
import type { CounterAnswer, CounterBook } from './counters.ts';
import { type Fact, type Ledger, PRESENCE } from './ledger.ts';
import { configMap, counterClaim, counterSandbox, NAMESPACE, snapshotTrigger, VALUE_ANNOTATION } from './manifests.ts';

/** The engine and router that the load is for at the moment. */
export interface Target {
  client: ResourceClient;
  request(path: string, init?: RequestInit): Promise<Response>;
}

/** One caller after the other: its objects are nobody else's. It survives the engines that it calls. */
export interface Lane {
  /** Does one thing after the other until the engine is gone. @throws Error for an answer that nobody should get */
  run(target: Target, random: Random, isKilled: () => boolean): Promise<void>;
  /** Asks every counter, which wakes those that are paused. */
  checkCounters(target: Target): Promise<void>;
}

/** Something that an unanswered write or the end of a connection threw. */
class Gone extends Error {}

const VALUE: Fact = { name: 'value', read: (object) => object?.metadata.annotations?.[VALUE_ANNOTATION] };
const MODE: Fact = {
  name: 'mode',
  read: (object) => (object === undefined ? undefined : ((object as Sandbox).spec.operatingMode ?? 'Running')),
};
const BOUND: Fact = { name: 'sandbox', read: (object) => (object as SandboxClaim | undefined)?.status?.sandbox?.name };

const CLAIMS_AT_ONCE = 1;
const MAPS_AT_ONCE = 3;
const WAIT_MS = 45_000;

/** A lane with one Sandbox of its own, made at its first run; claims, disks and ConfigMaps come and go. */
export function createLane(index: number, ledger: Ledger, counters: CounterBook): Lane {
  let sequence = 0;
  const own = `lane-${index}`;
  const sandboxes = new Set<string>();
  const maps = new Set<string>();
  const claims = new Map<string, string | undefined>();
  /** Sandboxes by what was asked of them last: a pause, or a call after one. */
  const asked = new Map<string, 'pause' | 'call after pause'>();

  const fresh = (kind: string) => `${own}-${kind}-${++sequence}`;
  const keyOf = (name: string) => ({ namespace: NAMESPACE, name });

  async function run(target: Target, random: Random, isKilled: () => boolean): Promise<void> {
    const { client, request } = target;
    const pick = (names: Iterable<string>) => {
      const all = [...names];
      return all[random.between(0, all.length - 1)];
    };
    const callable = () => [...sandboxes, ...[...claims.values()].filter((name) => name !== undefined)];

    const actions = {
      call: async () => {
        const sandbox = pick(callable());
        if (sandbox !== undefined) await call(request, sandbox);
      },
      pause: async () => {
        const sandbox = pick(callable());
        if (sandbox === undefined) return;
        const what = { type: SANDBOXES, key: keyOf(sandbox), fact: MODE, wanted: 'Suspended' };
        if (random.next() < 0.5)
          await ledger.write(what, () =>
            client.patch(SANDBOXES, keyOf(sandbox), { spec: { operatingMode: 'Suspended' } }, { type: 'merge' }),
          );
        else
          await ledger.write(what, async () => {
            const { status, text } = await answer(request, `/-/v1/sandboxes/${sandbox}/pause`, { method: 'POST' });
            assert.equal(status, 202, text);
            return undefined;
          });
        // The router may have been about to call the pause before off for that call: asking for what is asked for already changes nothing, and comes to nothing then.
        if (asked.get(sandbox) === 'call after pause') ledger.maybe({ ...what, wanted: 'Running' });
        asked.set(sandbox, 'pause');
      },
      patch: async () => {
        const map = random.next() < 0.5 ? pick(maps) : undefined;
        const [type, name] = map === undefined ? [SANDBOXES, pick(sandboxes)] : [CONFIG_MAPS, map];
        if (name === undefined) return;
        const wanted = String(++sequence);
        const patch = { metadata: { annotations: { [VALUE_ANNOTATION]: wanted } } };
        await ledger.write({ type, key: keyOf(name), fact: VALUE, wanted }, () =>
          client.patch(type, keyOf(name), patch, { type: 'merge' }),
        );
      },
      createMap: async () => {
        if (maps.size >= MAPS_AT_ONCE) return;
        const name = fresh('map');
        maps.add(name);
        await create(client, CONFIG_MAPS, configMap(name));
      },
      removeMap: async () => {
        const name = pick(maps);
        if (name === undefined) return;
        await remove(client, CONFIG_MAPS, name);
        maps.delete(name);
      },
      claim: async () => {
        if (claims.size >= CLAIMS_AT_ONCE) return;
        const name = fresh('claim');
        claims.set(name, undefined);
        await create(client, SANDBOX_CLAIMS, counterClaim(name));
        await settleClaim(target, name, isKilled);
      },
      release: async () => {
        const name = pick(claims.keys());
        if (name === undefined) return;
        const sandbox = claims.get(name);
        if (sandbox !== undefined) ledger.mayVanish(SANDBOXES, keyOf(sandbox));
        await remove(client, SANDBOX_CLAIMS, name);
        claims.delete(name);
      },
      createSandbox: async () => {
        if (sandboxes.size >= 2) return;
        const name = fresh('disk');
        sandboxes.add(name);
        await create(client, SANDBOXES, counterSandbox(name, { disk: true }));
        await routed(request, name, isKilled);
      },
      removeSandbox: async () => {
        const name = pick([...sandboxes].filter((other) => other !== own));
        if (name === undefined) return;
        await remove(client, SANDBOXES, name);
        sandboxes.delete(name);
      },
      snapshot: async () => {
        const trigger = snapshotTrigger(fresh('trigger'), own);
        await create(client, POD_SNAPSHOT_MANUAL_TRIGGERS, trigger);
      },
    };

    try {
      if (!sandboxes.has(own)) {
        sandboxes.add(own);
        await create(client, SANDBOXES, counterSandbox(own));
        await routed(request, own, isKilled);
      }
      while (!isKilled()) {
        const weights = { call: 8, pause: 4, patch: 6, createMap: 2, removeMap: 1, claim: 3, release: 2 };
        const action = random.weighted({ ...weights, createSandbox: 1, removeSandbox: 1, snapshot: 0.5 });
        await actions[action]();
      }
    } catch (error) {
      // What was under way when the engine died is what this test is about.
      if (!isKilled() || !isCutOff(error)) throw error;
    }
  }

  async function create(client: ResourceClient, type: ResourceType, object: KubernetesObject): Promise<void> {
    const what = { type, key: object.metadata, fact: PRESENCE, wanted: 'there' };
    await ledger.write({ ...what, key: keyOf(object.metadata.name) }, () => client.create(type, object));
  }

  async function remove(client: ResourceClient, type: ResourceType, name: string): Promise<void> {
    await ledger.write({ type, key: keyOf(name), fact: PRESENCE, wanted: undefined }, async () => {
      // Gone before the engine died, though nobody was told.
      await client.delete(type, keyOf(name)).catch((error) => {
        if (!isApiError(error, 'NotFound')) throw error;
      });
      return undefined;
    });
  }

  /** Waits until a claim has a sandbox; from then on it has that one. */
  async function settleClaim({ client, request }: Target, name: string, isKilled: () => boolean): Promise<void> {
    const found = await until(
      `claim ${name} has a sandbox`,
      async () => {
        if (isKilled()) throw new Gone();
        const claim = await client.get<SandboxClaim>(SANDBOX_CLAIMS, keyOf(name));
        return claim.status?.sandbox?.name === undefined ? undefined : claim;
      },
      WAIT_MS,
    );
    const sandbox = found.status?.sandbox?.name;
    claims.set(name, sandbox);
    await ledger.write(
      { type: SANDBOX_CLAIMS, key: keyOf(name), fact: BOUND, wanted: sandbox },
      async () => found as KubernetesObject,
    );
    if (sandbox !== undefined) await routed(request, sandbox, isKilled);
  }

  async function call(request: Target['request'], sandbox: string): Promise<void> {
    ledger.maybe({ type: SANDBOXES, key: keyOf(sandbox), fact: MODE, wanted: 'Running' });
    if (asked.has(sandbox)) asked.set(sandbox, 'call after pause');
    await counters.step(sandbox, async () => {
      const { status, text } = await answer(request, `/${sandbox}/`);
      assert.equal(status, 200, `${sandbox}: ${text}`);
      return JSON.parse(text) as CounterAnswer;
    });
  }

  return {
    run,
    checkCounters: async (target) => {
      for (const name of await gone(target.client, SANDBOX_CLAIMS, claims.keys())) claims.delete(name);
      for (const name of await gone(target.client, SANDBOXES, sandboxes)) sandboxes.delete(name);
      for (const name of await gone(target.client, CONFIG_MAPS, maps)) maps.delete(name);
      for (const name of claims.keys()) await settleClaim(target, name, () => false);
      for (const sandbox of [...sandboxes, ...claims.values()])
        if (sandbox !== undefined) await call(target.request, sandbox);
    },
  };
}

/** Waits until the router knows a sandbox: it learns of it by a watch, as everybody does. */
async function routed(request: Target['request'], name: string, isKilled: () => boolean): Promise<void> {
  await until(`the router knows ${name}`, async () => {
    if (isKilled()) throw new Gone();
    return (await answer(request, `/-/v1/sandboxes/${name}`)).status === 200;
  });
}

/** Which of the objects are not there. */
async function gone(client: ResourceClient, type: ResourceType, names: Iterable<string>): Promise<string[]> {
  const { items } = await client.list(type, { namespace: NAMESPACE });
  const there = new Set(items.map(({ metadata }) => metadata.name));
  return [...names].filter((name) => !there.has(name));
}

async function answer(
  request: Target['request'],
  path: string,
  init: RequestInit = {},
): Promise<{ status: number; text: string }> {
  const response = await request(path, { ...init, headers: { accept: 'application/json' } });
  return { status: response.status, text: await response.text() };
}

/** Whether that is what the end of an engine looks like from outside. */
function isCutOff(error: unknown): boolean {
  return error instanceof Gone || error instanceof TypeError || isApiError(error, 'Unreachable');
}
