import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  createPreparedContainers,
  type PreparedContainers,
} from '../../../src/engine/controllers/pod/prepared/index.ts';
import type { ContainerSpec } from '../../../src/engine/runtime/index.ts';
import { until } from '../../support/until.ts';

const MEBIBYTE = 2 ** 20;

/** The pool over a runtime and a network that only note what they were asked for. */
describe('containers that wait for sandboxes to wake', () => {
  let pool: PreparedContainers;
  /** Hostnames of the containers that there are, by id. */
  let there: Map<string, string>;
  /** Addresses by id. */
  let namespaces: Map<string, string>;
  /** Addresses in the namespaces that belong to no container. */
  const networks = () =>
    [...namespaces]
      .filter(([id]) => !there.has(id))
      .map(([, address]) => address)
      .toSorted();
  let availableBytes: number;
  let failures: string[];
  let failing: boolean;
  let nowMs: number;
  /** How often memory was looked at. */
  let looks = 0;

  const start = (limits: { count: number; bytes: number }) => {
    pool = createPreparedContainers({
      runtime: {
        prepare: async ({ id, hostname }) => {
          if (failing) throw new Error('no room');
          there.set(id, hostname);
          return { memoryBytes: 30 * MEBIBYTE };
        },
        stop: async (id) => void there.delete(id),
      },
      network: {
        prepare: async (id, address) => {
          namespaces.set(id, address);
          return { address };
        },
        detach: async (id) => void namespaces.delete(id),
      },
      limits,
      memory: () => {
        looks++;
        return { availableBytes, totalBytes: 1000 * MEBIBYTE };
      },
      nowMs: () => nowMs + performance.now(),
      failed: (what, error) => failures.push(`${what}: ${(error as Error).message}`),
    });
  };
  const pause = (name: string) => pool.paused(name, specOf(name), '10.64.0.2');
  const hostnames = () => [...there.values()].toSorted();
  const waitForNetworks = (...addresses: string[]) =>
    until(`${addresses} wait, not ${networks()}`, () => JSON.stringify(networks()) === JSON.stringify(addresses), 5000);
  const waitFor = (...names: string[]) =>
    until(`${names} wait, not ${hostnames()}`, () => JSON.stringify(hostnames()) === JSON.stringify(names), 5000);

  beforeEach(() => {
    there = new Map();
    namespaces = new Map();
    availableBytes = 900 * MEBIBYTE;
    failures = [];
    failing = false;
    nowMs = 0;
  });
  afterEach(async () => {
    await pool.close();
    assert.deepEqual([hostnames(), [...namespaces]], [[], []]);
  });

  it('a sandbox that was paused gets one, once', async () => {
    start({ count: 4, bytes: 256 * MEBIBYTE });
    pause('a');
    await waitFor('a');
    const taken = pool.take('a');
    assert.equal(there.get(taken?.id ?? ''), 'a');
    assert.equal(pool.take('a'), undefined);
    if (taken !== undefined) await pool.discard(taken);
  });

  it('what is alike serves each other, what differs does not', async () => {
    start({ count: 1, bytes: 256 * MEBIBYTE });
    pool.paused('a', specOf('same'), '10.64.0.2');
    await waitFor('same');
    pool.paused('b', specOf('same'), '10.64.0.3');
    pool.paused('c', specOf('other'), '10.64.0.4');
    assert.equal(pool.take('c'), undefined);
    const taken = pool.take('b');
    assert.equal(there.get(taken?.id ?? ''), 'same');
    if (taken !== undefined) await pool.discard(taken);
  });

  it('no more than may wait: those paused last come first', async () => {
    start({ count: 2, bytes: 256 * MEBIBYTE });
    for (const name of ['a', 'b', 'c']) {
      pause(name);
      nowMs += 1000;
    }
    await waitFor('b', 'c');
  });

  it('those woken often come before those paused last', async () => {
    start({ count: 1, bytes: 256 * MEBIBYTE });
    for (let round = 0; round < 3; round++) {
      pause('often');
      nowMs += 1000;
    }
    pause('once');
    await waitFor('often');
  });

  it('no more than fit into the memory that they may take', async () => {
    start({ count: 4, bytes: 65 * MEBIBYTE });
    for (const name of ['a', 'b', 'c']) {
      pause(name);
      nowMs += 1000;
    }
    await waitFor('b', 'c');
  });

  it('none of a sandbox that is gone, or that nobody called for half an hour', async () => {
    start({ count: 4, bytes: 256 * MEBIBYTE });
    pause('gone');
    pause('kept');
    await waitFor('gone', 'kept');
    pool.forget('gone');
    await waitFor('kept');
    nowMs += 31 * 60_000;
    await waitFor();
  });

  it('when memory gets short nothing new comes, and when it is short what waits goes', async () => {
    start({ count: 4, bytes: 256 * MEBIBYTE });
    pause('a');
    await waitFor('a');
    availableBytes = 140 * MEBIBYTE;
    pause('b');
    const before = looks;
    await until('it was looked', () => looks > before);
    assert.deepEqual(hostnames(), ['a']);
    availableBytes = 90 * MEBIBYTE;
    await waitFor();
  });

  it('where none may wait, the network does, for its own sandbox alone', async () => {
    start({ count: 0, bytes: 256 * MEBIBYTE });
    pool.paused('a', specOf('same'), '10.64.0.2');
    pool.paused('b', specOf('same'), '10.64.0.3');
    await waitForNetworks('10.64.0.2', '10.64.0.3');
    const taken = pool.take('b');
    assert.equal(taken?.shape, undefined);
    assert.equal(namespaces.get(taken?.id ?? ''), '10.64.0.3');
    assert.equal(pool.take('b'), undefined);
    assert.deepEqual(hostnames(), []);
    if (taken !== undefined) await pool.discard(taken);
    pool.forget('a');
    await waitForNetworks();
  });

  it('only the network waits for a sandbox with files of its own, and for those after the most likely', async () => {
    start({ count: 1, bytes: 256 * MEBIBYTE });
    pool.paused('earlier', specOf('earlier'), '10.64.0.2');
    nowMs += 1000;
    pool.paused('later', specOf('later'), '10.64.0.3');
    nowMs += 1000;
    pool.paused('files', specOf('files'), '10.64.0.4', true);
    await waitFor('later');
    await waitForNetworks('10.64.0.2', '10.64.0.4');
  });

  it('of many sandboxes, networks wait for those that were paused last', async () => {
    start({ count: 0, bytes: 256 * MEBIBYTE });
    const addresses = Array.from({ length: 20 }, (_, index) => `10.64.0.${100 + index}`);
    for (const address of addresses) {
      pool.paused(address, specOf('same'), address);
      nowMs += 1000;
    }
    await waitForNetworks(...addresses.slice(4));
  });

  it('no network waits when memory is short', async () => {
    start({ count: 0, bytes: 256 * MEBIBYTE });
    pause('a');
    await waitForNetworks('10.64.0.2');
    availableBytes = 90 * MEBIBYTE;
    await waitForNetworks();
  });

  it('one that could not be made is told, leaves no network, and is tried again at the next pause', async () => {
    start({ count: 4, bytes: 256 * MEBIBYTE });
    failing = true;
    pause('a');
    await until('it failed', () => failures.length > 0);
    assert.deepEqual([...namespaces], []);
    assert.deepEqual(failures, ['keeping containers ready: no room']);
    failing = false;
    pause('a');
    await waitFor('a');
  });
});

function specOf(hostname: string): ContainerSpec {
  return {
    id: '0000000000',
    hostname,
    root: { path: '/image', mounts: [] },
    command: ['/bin/true'],
    env: {},
    workingDirectory: '/',
    user: { uid: 0, gid: 0 },
    network: { address: '10.64.0.2' },
    logPath: '/log',
  };
}
