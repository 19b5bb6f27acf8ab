import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createWakeQueue, type Ticket } from '../../../src/router/wake/admission.ts';

/** Lets one wake after another end, in the order in which they began; returns whose they were. */
async function serve(tickets: { tenant: string; ticket: Ticket }[]): Promise<string[]> {
  const order: string[] = [];
  const open = new Set(tickets);
  while (open.size > 0) {
    const begun = [...open].filter(({ ticket }) => ticket.isAdmitted());
    assert.ok(begun.length > 0, 'somebody is always served');
    for (const entry of begun) {
      order.push(entry.tenant);
      open.delete(entry);
      entry.ticket.leave();
      break;
    }
  }
  return order;
}

const enter = (queue: ReturnType<typeof createWakeQueue>, tenant: string, count: number, weight = 1, most = 1e9) =>
  Array.from({ length: count }, () => ({ tenant, ticket: queue.enter({ tenant, weight, most }) }));

describe('the queue of wakes', () => {
  it('lets in as many at once as it may, first come first served within a tenant', () => {
    const queue = createWakeQueue(2);
    const [first, second, third, fourth] = enter(queue, 'a', 4).map(({ ticket }) => ticket);
    assert.deepEqual(
      [first, second, third, fourth].map((ticket) => ticket?.isAdmitted()),
      [true, true, false, false],
    );
    assert.deepEqual(
      [third, fourth].map((ticket) => ticket?.position()),
      [0, 1],
    );
    second?.leave();
    second?.leave();
    assert.equal(third?.isAdmitted(), true);
    assert.equal(fourth?.isAdmitted(), false, 'a place is given back once');
    assert.equal(queue.underWay(), 2);
  });

  it('serves a tenant with 10 every other time while one with 90 that came before waits', async () => {
    const queue = createWakeQueue(1);
    const order = await serve([...enter(queue, 'many', 90), ...enter(queue, 'few', 10)]);
    const last = order.lastIndexOf('few');
    assert.ok(last <= 21, `the last of ten is ${last + 1}th`);
  });

  it('gives three places to a tenant of weight 3 for each one of weight 1', async () => {
    const queue = createWakeQueue(1);
    const order = await serve([...enter(queue, 'light', 30), ...enter(queue, 'heavy', 30, 3)]);
    const heavy = order.slice(0, 20).filter((tenant) => tenant === 'heavy').length;
    assert.ok(heavy >= 14 && heavy <= 16, `${heavy} of the first 20`);
  });

  it('holds a tenant to its own bound, and lets others pass', () => {
    const queue = createWakeQueue(4);
    const bounded = enter(queue, 'bounded', 4, 1, 2);
    const other = enter(queue, 'other', 2);
    assert.equal(bounded.filter(({ ticket }) => ticket.isAdmitted()).length, 2);
    assert.equal(other.filter(({ ticket }) => ticket.isAdmitted()).length, 2);
  });

  it('gives nothing for having been away', async () => {
    const queue = createWakeQueue(1);
    await serve(enter(queue, 'busy', 50));
    const order = await serve([...enter(queue, 'busy', 10), ...enter(queue, 'away', 10)]);
    assert.equal(order.slice(0, 10).filter((tenant) => tenant === 'away').length, 5);
  });

  it('tells each how many begin before it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ tenant: fc.constantFrom('a', 'b', 'c'), leaves: fc.boolean() }), { maxLength: 40 }),
        async (claims) => {
          const weights: Record<string, number> = { a: 1, b: 2, c: 0.5 };
          const queue = createWakeQueue(1);
          const before = queue.enter({ tenant: 'before', weight: 1, most: 1 });
          const entries = claims.flatMap(({ tenant, leaves }) => {
            const [entry] = enter(queue, tenant, 1, weights[tenant]);
            if (leaves) entry?.ticket.leave();
            return leaves || entry === undefined ? [] : [entry];
          });
          const told = entries.map(({ ticket }) => ticket.position());
          before.leave();
          const served = await serveTickets(entries.map(({ ticket }) => ticket));
          assert.equal(served.length, entries.length);
          entries.forEach(({ ticket }, index) => {
            const off = Math.abs((told[index] ?? 0) - served.indexOf(ticket));
            // Of those who would be served at the very same time any may come first.
            assert.ok(off <= 2, `told ${told[index]}, was ${served.indexOf(ticket)}`);
          });
          assert.equal(queue.waiting() + queue.underWay(), 0);
        },
      ),
      { numRuns: 200 },
    );
  });
});

async function serveTickets(tickets: Ticket[]): Promise<Ticket[]> {
  const served: Ticket[] = [];
  const open = new Set(tickets);
  for (;;) {
    const next = [...open].find((ticket) => ticket.isAdmitted());
    if (next === undefined) return served;
    served.push(next);
    open.delete(next);
    next.leave();
  }
}
