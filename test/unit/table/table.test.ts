import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  createRoutingTable,
  type PodRecord,
  type RoutingTable,
  type SandboxRecord,
} from '../../../src/router/table/index.ts';
import { podRecord, sandboxRecord } from '../../support/route-records.ts';

/** Which pod each sandbox is routed to now. */
function routes(table: RoutingTable): Record<string, string | undefined> {
  const found: Record<string, string | undefined> = {};
  for (const route of table.routes()) found[route.sandbox.name] = table.isRoutable(route) ? route.pod?.uid : undefined;
  return found;
}

describe('the routing table', () => {
  it('routes a sandbox to its pod, whichever is heard of first', () => {
    for (const podFirst of [true, false]) {
      const table = createRoutingTable();
      const steps = [
        () => table.upsertSandbox(sandboxRecord('a')),
        () => table.upsertPod(podRecord('a', 'p1', '10.0.0.1')),
      ];
      for (const step of podFirst ? steps.reverse() : steps) step();
      assert.deepEqual(routes(table), { a: 'p1' });
    }
  });

  const unroutable: [what: string, pod: Partial<PodRecord>, sandbox: Partial<SandboxRecord>][] = [
    ['is not ready', { ready: false }, {}],
    ['is terminating', { terminating: true }, {}],
    ['shares the network of its node', { hostNetwork: true }, {}],
    ['has no address', { address: '' }, {}],
    ['belongs to a sandbox that is paused', {}, { running: false }],
    ['belongs to a pool', {}, { pooled: true }],
  ];
  for (const [what, podChange, sandboxChange] of unroutable)
    it(`does not route to a pod that ${what}`, () => {
      const table = createRoutingTable();
      table.upsertSandbox(sandboxRecord('a', sandboxChange));
      table.upsertPod(podRecord('a', 'p1', '10.0.0.1', podChange));
      assert.deepEqual(routes(table), { a: undefined });
    });

  it('of several pods takes a live, ready, young one', () => {
    const table = createRoutingTable();
    table.upsertSandbox(sandboxRecord('a'));
    table.upsertPod(podRecord('a', 'old', '10.0.0.1', { createdAtMs: 1 }));
    table.upsertPod(podRecord('a', 'young', '10.0.0.2', { createdAtMs: 2 }));
    assert.deepEqual(routes(table), { a: 'young' });
    table.upsertPod(podRecord('a', 'young', '10.0.0.2', { createdAtMs: 2, ready: false }));
    assert.deepEqual(routes(table), { a: 'old' });
    table.upsertPod(podRecord('a', 'old', '10.0.0.1', { createdAtMs: 1, terminating: true }));
    assert.deepEqual(routes(table), { a: undefined });
  });

  it('of two pods with one address believes the younger, cuts off the other, and gives it back afterwards', () => {
    const table = createRoutingTable();
    const retired: string[] = [];
    table.onRetired((uid) => retired.push(uid));
    for (const name of ['a', 'b']) table.upsertSandbox(sandboxRecord(name));
    table.upsertPod(podRecord('a', 'pa', '10.0.0.1', { createdAtMs: 1 }));
    table.upsertPod(podRecord('b', 'pb', '10.0.0.1', { createdAtMs: 2 }));
    assert.deepEqual(routes(table), { a: undefined, b: 'pb' });
    assert.deepEqual(retired, ['pa']);
    table.upsertPod(podRecord('a', 'pa', '10.0.0.1', { createdAtMs: 1 }));
    assert.deepEqual(routes(table), { a: undefined, b: 'pb' }, 'hearing of the older one again changes nothing');
    table.deletePod('pb');
    assert.deepEqual(routes(table), { a: 'pa', b: undefined });
    assert.deepEqual(retired, ['pa', 'pb']);
  });

  it('of two pods with one address believes the younger though it is about to end, whichever is heard of first', () => {
    const older = podRecord('a', 'pa', '10.0.0.1', { createdAtMs: 1 });
    const younger = podRecord('b', 'pb', '10.0.0.1', { createdAtMs: 2, terminating: true });
    for (const pods of [
      [older, younger],
      [younger, older],
    ]) {
      const table = createRoutingTable();
      for (const name of ['a', 'b']) table.upsertSandbox(sandboxRecord(name));
      for (const record of pods) table.upsertPod({ ...record });
      assert.deepEqual(routes(table), { a: undefined, b: undefined });
      table.deletePod('pb');
      assert.deepEqual(routes(table), { a: 'pa', b: undefined });
    }
  });

  it('tells who must lose connections when a pod goes, moves or is replaced by a relist', () => {
    const table = createRoutingTable();
    const retired: string[] = [];
    table.onRetired((uid) => retired.push(uid));
    table.upsertSandbox(sandboxRecord('a'));
    table.upsertPod(podRecord('a', 'p1', '10.0.0.1'));
    table.upsertPod(podRecord('a', 'p1', '10.0.0.9'));
    assert.deepEqual(retired.splice(0), ['p1']);
    table.beginReplace('pods');
    table.upsertPod(podRecord('a', 'p2', '10.0.0.2', { createdAtMs: 2000 }));
    table.endReplace('pods');
    assert.deepEqual(retired, ['p1']);
    assert.deepEqual(routes(table), { a: 'p2' });
  });

  it('a pod that gets another owner is the earlier one’s no more', () => {
    const table = createRoutingTable();
    const retired: string[] = [];
    table.onRetired((uid) => retired.push(uid));
    for (const name of ['a', 'b']) table.upsertSandbox(sandboxRecord(name));
    table.upsertPod(podRecord('a', 'p1', '10.0.0.1'));
    table.upsertPod(podRecord('b', 'p1', '10.0.0.1'));
    assert.deepEqual(routes(table), { a: undefined, b: 'p1' });
    assert.deepEqual(retired, ['p1']);
  });

  it('a sandbox that was made again under its name has nothing of the earlier one', () => {
    const table = createRoutingTable();
    table.upsertSandbox(sandboxRecord('a'));
    table.upsertPod(podRecord('a', 'p1', '10.0.0.1'));
    table.upsertSandbox(sandboxRecord('a', { uid: 'another' }));
    assert.deepEqual(routes(table), { a: undefined });
    table.deleteSandbox('default', 'a', 'uid-a');
    assert.deepEqual(Object.keys(routes(table)), ['a'], 'the end of the earlier one is not the end of this');
  });

  it('is after a relist what it would be if nothing had come before, in whatever order and how often events came', () => {
    const names = fc.constantFrom('a', 'b', 'c');
    const podArbitrary = fc
      .record({
        owner: names,
        uid: fc.constantFrom('p1', 'p2', 'p3', 'p4'),
        address: fc.constantFrom('10.0.0.1', '10.0.0.2', ''),
        ready: fc.boolean(),
        terminating: fc.boolean(),
        createdAtMs: fc.integer({ min: 1, max: 4 }),
      })
      .map(({ owner, uid, address, ...more }) => podRecord(owner, uid, address, more));
    const sandboxArbitrary = fc
      .record({ name: names, running: fc.boolean(), again: fc.boolean() })
      .map(({ name, running, again }) =>
        sandboxRecord(name, { running, uid: again ? `again-${name}` : `uid-${name}` }),
      );
    const event = fc.oneof(
      podArbitrary.map((record) => (table: RoutingTable) => table.upsertPod({ ...record })),
      sandboxArbitrary.map((record) => (table: RoutingTable) => table.upsertSandbox({ ...record })),
      fc.constantFrom('p1', 'p2', 'p3', 'p4').map((uid) => (table: RoutingTable) => table.deletePod(uid)),
      names.map((name) => (table: RoutingTable) => table.deleteSandbox('default', name, `uid-${name}`)),
    );
    const unique = <Record_>(key: (record: Record_) => string) => ({ selector: key, maxLength: 4 });
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 30 }),
        fc.uniqueArray(
          sandboxArbitrary,
          unique((record: SandboxRecord) => record.name),
        ),
        // Two pods of one age that claim one address are told apart by who was heard of last: not a matter of this property.
        fc
          .uniqueArray(
            podArbitrary,
            unique((record: PodRecord) => record.uid),
          )
          .filter((list) => new Set(list.map(({ createdAtMs }) => createdAtMs)).size === list.length),
        (events, sandboxes, pods) => {
          const table = createRoutingTable();
          for (const apply of events) apply(table);
          table.beginReplace('sandboxes');
          for (const record of sandboxes) table.upsertSandbox({ ...record });
          table.endReplace('sandboxes');
          table.beginReplace('pods');
          for (const record of pods) table.upsertPod({ ...record });
          table.endReplace('pods');
          const fresh = createRoutingTable();
          for (const record of sandboxes) fresh.upsertSandbox({ ...record });
          for (const record of pods) fresh.upsertPod({ ...record });
          assert.deepEqual(routes(table), routes(fresh));
        },
      ),
      { numRuns: 10_000 },
    );
  });
});

describe('a port that refuses dials', () => {
  const suspected = () => {
    const table = createRoutingTable();
    table.upsertSandbox(sandboxRecord('a'));
    table.upsertPod(podRecord('a', 'p1', '10.0.0.1'));
    table.suspect('p1', 8888, 500);
    return table;
  };
  const ports = (table: RoutingTable) => table.findPod('p1')?.suspectPorts;

  it('is suspect by itself: its pod is routed to, other ports are not suspect', () => {
    const table = suspected();
    table.suspect('unknown', 8888, 500);
    assert.deepEqual(ports(table), new Map([[8888, 500]]));
    assert.equal(table.suspectCount(), 1);
    assert.deepEqual(routes(table), { a: 'p1' });
  });

  const clearing: [what: string, clear: (table: RoutingTable) => void][] = [
    ['an accepted dial', (table) => table.trust('p1', 8888)],
    ['a fresh record of the pod', (table) => table.upsertPod(podRecord('a', 'p1', '10.0.0.1'))],
    ['a fresh record with another address', (table) => table.upsertPod(podRecord('a', 'p1', '10.0.0.2'))],
    ['the end of the pod', (table) => table.deletePod('p1')],
  ];
  for (const [what, clear] of clearing)
    it(`is trusted again after ${what}`, () => {
      const table = suspected();
      clear(table);
      assert.equal(ports(table), undefined);
      assert.equal(table.suspectCount(), 0);
    });

  it('stays suspect while another port is trusted again', () => {
    const table = suspected();
    table.suspect('p1', 9999, 0);
    table.trust('p1', 9999);
    assert.deepEqual(ports(table), new Map([[8888, 500]]));
    assert.equal(table.suspectCount(), 1);
  });
});

describe('what a table hears', () => {
  it('is dated: another pod and a report from elsewhere, not what it knew nor what was told here', () => {
    let nowMs = 0;
    const table = createRoutingTable();
    const heardMs = () => table.find('default', 'a')?.activity.heardMs;
    table.upsertSandbox(sandboxRecord('a', { reportedActiveMs: 7 }));
    table.upsertPod(podRecord('a', 'p1', '10.0.0.1'));
    assert.equal(heardMs(), 0, 'the first list is no news');
    table.expectNews(() => nowMs);
    nowMs = 1000;
    table.upsertSandbox(sandboxRecord('a', { reportedActiveMs: 7 }));
    table.upsertPod(podRecord('a', 'p1', '10.0.0.1'));
    assert.equal(heardMs(), 0);
    table.upsertSandbox(sandboxRecord('a', { reportedActiveMs: 3 }));
    assert.equal(heardMs(), 1000, 'whatever the clock of the other router says');
    nowMs = 2000;
    table.upsertPod(podRecord('a', 'p2', '10.0.0.2', { createdAtMs: 9000 }));
    assert.equal(heardMs(), 2000);
  });
});
