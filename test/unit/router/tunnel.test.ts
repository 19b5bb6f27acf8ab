import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { createTunnel, type WakeRefusal } from '../../../src/router/forward/tunnel.ts';
import type { PodRecord } from '../../../src/router/table/index.ts';
import { RawConnection } from '../../support/raw-connection.ts';
import { until } from '../../support/until.ts';

/** Both ends of a TCP connection. */
async function pair(test: TestContext): Promise<{ near: Socket; far: RawConnection }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const near = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const [[accepted]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [[Socket], unknown];
  server.close();
  test.after(() => {
    near.destroy();
    accepted.destroy();
  });
  return { near, far: new RawConnection(accepted) };
}

const NEXT = { uid: 'next' } as PodRecord;
const text = (payload: string) =>
  Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), Buffer.from(payload)]).toString('latin1');

/** A tunnel between a client and a sandbox that the test plays. */
async function tunnelWorld(test: TestContext, webSocket = true, redials = false) {
  const [client, sandbox, again] = await Promise.all([pair(test), pair(test), pair(test)]);
  const wakes: { bytes: number; signal: AbortSignal; answer(refusal?: WakeRefusal): void }[] = [];
  let ended = 0;
  let refusesRedial = false;
  const tunnel = createTunnel({
    client: client.near,
    upstream: sandbox.near,
    head: Buffer.alloc(0),
    first: Buffer.alloc(0),
    webSocket,
    timeouts: {} as never,
    pacer: undefined,
    moved: () => {},
    wake: (bytes, signal) => new Promise((answer) => wakes.push({ bytes, signal, answer })),
    mayRedial: () => redials,
    redial: async () => {
      if (refusesRedial) throw new Error('another agreement');
      return { upstream: again.near, first: Buffer.from('\x81\x02hi', 'latin1') };
    },
    ended: () => ended++,
  });
  return {
    tunnel,
    client: client.far,
    sandbox: sandbox.far,
    again: again.far,
    wakes,
    ended: () => ended,
    refuseRedial: () => {
      refusesRedial = true;
    },
    /** As the lines do it when a pod is put into a snapshot. */
    fallAsleep: (how: 'kept' | 'redial' = 'kept') => {
      tunnel.hush();
      return tunnel.sleep(how);
    },
  };
}

describe('a tunnel whose sandbox sleeps', () => {
  it('sends on what it brought before, and after it nothing but what waited, in order', async (test) => {
    const { tunnel, client, sandbox, wakes, fallAsleep } = await tunnelWorld(test);
    client.write(text('one'));
    assert.equal(await sandbox.take(9), text('one'));
    sandbox.write('\x81\x02ok');
    await client.take(4);
    assert.equal(fallAsleep(), true);
    assert.equal(wakes.length, 0);
    client.write(text('two'));
    await until('it is to be woken', () => wakes.length === 1);
    assert.equal(wakes[0]?.bytes, 9);
    client.write(text('three'));
    assert.equal(sandbox.receivedBytes, 9);
    wakes[0]?.answer();
    tunnel.goOn(NEXT);
    assert.equal(await sandbox.take(20), text('two') + text('three'));
    client.write(text('four'));
    assert.equal(await sandbox.take(10), text('four'));
    assert.equal(wakes.length, 1);
  });

  it('wakes it for what went to it just before the pause and has no answer: the pause did not know of it', async (test) => {
    const { client, sandbox, wakes, fallAsleep } = await tunnelWorld(test);
    client.write(text('one'));
    await sandbox.take(9);
    fallAsleep();
    assert.equal(wakes.length, 1);
  });

  it('lets through what the sandbox yet says after it is hushed', async (test) => {
    const { tunnel, client, sandbox } = await tunnelWorld(test);
    tunnel.hush();
    sandbox.write('\x81\x03bye');
    assert.equal(await client.take(5), '\x81\x03bye');
  });

  it('answers no ping in the middle of a frame of the sandbox', async (test) => {
    const { tunnel, client, sandbox, fallAsleep } = await tunnelWorld(test);
    sandbox.write('\x81\x05he');
    await client.take(4);
    fallAsleep();
    client.write(Buffer.from([0x89, 0x80, 0, 0, 0, 0]));
    client.write(text('data'));
    await until('the ping was read', () => tunnel.isHushed() && tunnel.client.isPaused());
    tunnel.goOn(NEXT);
    sandbox.write('llo');
    assert.equal(await client.take(3), 'llo');
    assert.equal(client.pending.length, 0);
  });

  it('tells a client whose data may not wake why, and the sandbox of its end when it is awake', async (test) => {
    const { tunnel, client, sandbox, wakes, fallAsleep, ended } = await tunnelWorld(test);
    fallAsleep();
    client.write(text('data'));
    await until('it is to be woken', () => wakes.length === 1);
    wakes[0]?.answer({ closeCode: 1008, reason: 'no' });
    assert.equal(await client.takeRest(), '\x88\x04\x03\xf0no');
    client.socket.end();
    await until('the client is gone', () => tunnel.client.destroyed);
    assert.deepEqual([sandbox.ended, sandbox.receivedBytes, ended()], [false, 0, 0]);
    tunnel.goOn(NEXT);
    await sandbox.untilClosed();
    assert.deepEqual([sandbox.receivedBytes, ended()], [0, 1]);
  });

  it('remembers a client that is gone, and ends with it when the sandbox is awake', async (test) => {
    const { tunnel, client, sandbox, fallAsleep, ended } = await tunnelWorld(test);
    fallAsleep();
    client.reset();
    await until('the client is gone', () => tunnel.client.destroyed);
    assert.deepEqual([tunnel.count(), ended(), sandbox.ended], [1, 0, false]);
    tunnel.goOn(NEXT);
    await sandbox.untilClosed();
    assert.deepEqual([tunnel.count(), ended()], [0, 1]);
  });

  it('that is cut sends its sandbox a reset and nothing else, and tells its client 1012', async (test) => {
    const { tunnel, client, sandbox, wakes, fallAsleep, ended } = await tunnelWorld(test);
    fallAsleep();
    client.write(text('data'));
    await until('it is to be woken', () => wakes.length === 1);
    tunnel.cut();
    assert.equal((await client.takeRest()).slice(0, 4), '\x88\x1b\x03\xf4');
    client.socket.end();
    await sandbox.untilClosed();
    assert.equal(sandbox.receivedBytes, 0);
    await until('it is over', () => ended() === 1);
  });

  it('of another protocol wakes it with any byte, and keeps the half that its client ended', async (test) => {
    const { tunnel, client, sandbox, wakes, fallAsleep } = await tunnelWorld(test, false);
    fallAsleep();
    client.socket.end('last words');
    await until('it is to be woken', () => wakes.length === 1);
    tunnel.goOn(NEXT);
    assert.equal(await sandbox.takeRest(), 'last words');
    sandbox.socket.end('heard');
    assert.equal(await client.takeRest(), 'heard');
  });
});

describe('a tunnel that is dialled again', () => {
  it('goes on with the other pod, whose first words come first', async (test) => {
    const { tunnel, client, sandbox, again, fallAsleep } = await tunnelWorld(test, true, true);
    assert.equal(fallAsleep('redial'), true);
    await sandbox.untilClosed();
    client.write(text('data'));
    tunnel.goOn(NEXT);
    assert.equal(await client.take(4), '\x81\x02hi');
    assert.equal(await again.take(10), text('data'));
    again.write('\x81\x02ok');
    assert.equal(await client.take(4), '\x81\x02ok');
  });

  it('also where the pod ended its connection before it was gone, as processes do', async (test) => {
    const { tunnel, client, sandbox, again } = await tunnelWorld(test, true, true);
    tunnel.hush();
    sandbox.socket.destroy();
    client.write(text('data'));
    await until('it is to be woken', () => tunnel.client.isPaused());
    assert.equal(tunnel.sleep('redial'), true);
    tunnel.goOn(NEXT);
    assert.equal(await again.take(10), text('data'));
    assert.equal(await client.take(4), '\x81\x02hi');
  });

  it('is closed with 1012 where the other pod does not agree to the same', async (test) => {
    const { tunnel, client, fallAsleep, refuseRedial } = await tunnelWorld(test, true, true);
    fallAsleep('redial');
    refuseRedial();
    tunnel.goOn(NEXT);
    assert.equal((await client.takeRest()).slice(0, 4), '\x88\x1b\x03\xf4');
  });

  it('is none in the middle of a message, whoever speaks', async (test) => {
    const first = await tunnelWorld(test, true, true);
    first.client.write(Buffer.from([0x01, 0x80, 0, 0, 0, 0]));
    await first.sandbox.take(6);
    assert.equal(first.fallAsleep('redial'), false);
    const second = await tunnelWorld(test, true, true);
    second.sandbox.write('\x01\x01a');
    await second.client.take(3);
    assert.equal(second.fallAsleep('redial'), false);
    const third = await tunnelWorld(test, false, true);
    assert.equal(third.fallAsleep('redial'), false);
  });
});
