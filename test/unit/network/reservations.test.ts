import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLoopbackNetwork } from '../../../src/engine/network/index.ts';
import { createReservations } from '../../../src/engine/network/reservations.ts';

const ID = 'aaaaaaaaaaaa';
const OTHER = 'bbbbbbbbbbbb';
const LATER = 'cccccccccccc';

describe('the address of a sandbox that is in a snapshot', () => {
  it('is had by nobody else until the snapshot is restored, and then again', async () => {
    const network = createLoopbackNetwork();
    const { address, wasReserved } = await network.attach(ID);
    assert.equal(wasReserved, false);
    await network.detach(ID, 'snapshot');
    assert.notEqual((await network.attach(OTHER, address)).address, address);
    assert.deepEqual(await network.attach(LATER, undefined, 'snapshot'), { address, wasReserved: true });
  });

  it('is reserved for one restore alone', async () => {
    const network = createLoopbackNetwork();
    const { address } = await network.attach(ID);
    await network.detach(ID, 'snapshot');
    await network.attach(LATER, undefined, 'snapshot');
    await network.detach(LATER);
    assert.deepEqual(await network.attach(OTHER, address, 'snapshot'), { address, wasReserved: false });
  });

  it('is free again once it is released', async () => {
    const network = createLoopbackNetwork();
    const { address } = await network.attach(ID);
    await network.detach(ID, 'snapshot');
    await network.release('snapshot');
    assert.equal((await network.attach(OTHER, address)).address, address);
    await network.release('unknown');
  });

  it('is reserved again by an engine that starts anew, unless somebody has it', async () => {
    const network = createLoopbackNetwork();
    network.adopt(ID, '127.3.0.1');
    network.reserve('taken', '127.3.0.1');
    network.reserve('kept', '127.3.0.2');
    assert.equal((await network.attach(OTHER, '127.3.0.2', 'taken')).wasReserved, false);
    assert.deepEqual(await network.attach(LATER, undefined, 'kept'), { address: '127.3.0.2', wasReserved: true });
  });

  it('goes to others first where it is reserved for longest, when there are too many', () => {
    const reservations = createReservations<number>(2);
    assert.equal(reservations.keep('first', 1), undefined);
    assert.equal(reservations.keep('second', 2), undefined);
    assert.equal(reservations.keep('third', 3), 1);
    assert.equal(reservations.take('first'), undefined);
    assert.equal(reservations.take('second'), 2);
  });
});
