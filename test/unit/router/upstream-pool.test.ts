import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ConnectionClosedError } from '../../../src/router/forward/upstream/errors.ts';
import type { UpstreamHandler, UpstreamRequest } from '../../../src/router/forward/upstream/exchange.ts';
import {
  createReadBuffers,
  createUpstreamPool,
  type UpstreamConnection,
  type UpstreamPool,
} from '../../../src/router/forward/upstream/index.ts';
import { type RawConnection, type RawUpstream, rawUpstream } from '../../support/raw-connection.ts';
import { until } from '../../support/until.ts';

const GET: UpstreamRequest = {
  method: 'GET',
  path: '/',
  headers: ['host', 'box'],
  body: null,
  connectMs: 1000,
  responseHeaderMs: 1000,
  idleStreamMs: 1000,
};
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('connections to a sandbox', () => {
  let upstream: RawUpstream | undefined;
  let pool: UpstreamPool | undefined;
  const open = new Set<UpstreamConnection>();
  let heads = 0;

  async function start(serve?: (connection: RawConnection) => unknown): Promise<UpstreamPool> {
    upstream = await rawUpstream(serve);
    pool = createUpstreamPool('127.0.0.1', upstream.port, {
      buffers: createReadBuffers(),
      opened: (connection) => open.add(connection),
      closed: (connection) => open.delete(connection),
    });
    return pool;
  }
  afterEach(async () => {
    pool?.destroy(new Error('the test is over'));
    await until('all connections are closed', () => open.size === 0);
    await upstream?.close();
  });

  /** Sends a request; resolves with the answer's body, or rejects with what kept it away. */
  function ask(through: UpstreamPool, request: Partial<UpstreamRequest> = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      let text = '';
      through.dispatch(
        { ...GET, ...request },
        {
          onHead: () => {
            heads++;
          },
          onWhole: (body) => {
            text = body;
          },
          onData: (chunk, release) => {
            text += chunk.toString('latin1');
            release?.();
          },
          onEnd: () => resolve(text),
          onError: reject,
        },
      );
    });
  }

  /** A sandbox that answers every head with these bytes. */
  const always = (bytes: string) => async (sandbox: RawConnection) => {
    for (;;) {
      await sandbox.takeHead();
      sandbox.write(bytes);
    }
  };

  it('carry one request after the other', async () => {
    const sandboxes = await start(always(OK));
    for (let index = 0; index < 5; index++) assert.equal(await ask(sandboxes), 'ok');
    assert.equal(upstream?.connections.length, 1);
    assert.equal(sandboxes.running(), 0);
  });

  for (const [what, bytes, method] of [
    ['after an answer that says so', 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok', 'GET'],
    ['with bytes beyond the answer', `${OK}HTTP/1.1 200 OK\r\n`, 'GET'],
    ['after HEAD, as some send a body then', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n', 'HEAD'],
  ] as const)
    it(`are not used again ${what}`, async () => {
      const sandboxes = await start(always(bytes));
      await ask(sandboxes, { method });
      await until('it is closed', () => open.size === 0);
      await ask(sandboxes, { method });
      assert.equal(upstream?.connections.length, 2);
    });

  it('that break tell whether the request may be sent again: only one that was reused, before any answer', async () => {
    let requests = 0;
    const sandboxes = await start(async (sandbox) => {
      for (;;) {
        await sandbox.takeHead();
        if (++requests === 1) sandbox.write(OK);
        else {
          if (requests === 4) sandbox.write('HTTP/1.1 200 OK\r\n');
          sandbox.socket.end();
        }
      }
    });
    const reused = (error: unknown) => {
      assert.ok(error instanceof ConnectionClosedError);
      return error.reused;
    };
    await ask(sandboxes);
    assert.equal(reused(await ask(sandboxes).catch((error) => error)), true);
    assert.equal(reused(await ask(sandboxes).catch((error) => error)), false, 'a fresh one');
    assert.equal(reused(await ask(sandboxes).catch((error) => error)), false, 'one that began to answer');
  });

  it('end when they are overdue: without a head, and in the middle of an answer that stands still', async () => {
    const sandboxes = await start(async (sandbox) => {
      const { line } = await sandbox.takeHead();
      if (line.includes('/stream')) sandbox.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab');
    });
    const before = heads;
    const failures = Promise.allSettled([ask(sandboxes), ask(sandboxes, { path: '/stream' })]);
    await until('both are under way', () => upstream?.connections.every(({ pending }) => pending.length === 0));
    await until('part of one answer came', () => heads > before);
    for (const connection of open) connection.watch(performance.now() + 900);
    assert.equal(open.size, 2);
    for (const connection of open) connection.watch(performance.now() + 1100);
    const codes = (await failures).map((each) => (each.status === 'rejected' ? each.reason.code : each.value));
    assert.deepEqual(codes, ['head_timeout', 'stream_timeout']);
  });

  it('of a sandbox that sleeps are not overdue, and what ends them waits until it is awake', async () => {
    const sandboxes = await start(() => {});
    const failed = ask(sandboxes).catch((error) => error.code);
    await until('it is under way', () => upstream?.connections.length === 1);
    sandboxes.fallAsleep();
    let told = false;
    sandboxes.whenAwake(() => {
      told = true;
    });
    for (const connection of open) connection.watch(performance.now() + 60_000);
    assert.deepEqual([open.size, told], [1, false]);
    sandboxes.wakeUp();
    assert.equal(told, true);
    sandboxes.destroy(Object.assign(new Error('gone'), { code: 'gone' }));
    assert.equal(await failed, 'gone');
    assert.equal(await ask(sandboxes).catch((error) => error.code), 'not_dialled', 'nor is it dialled again');
  });

  it('tell requests of which nothing was sent from others, and leave them their bodies', async () => {
    const sandboxes = await start(() => {});
    await upstream?.close();
    const body = Readable.from([Buffer.from('0123456789')]);
    const post = { method: 'POST', headers: ['host', 'box', 'content-length', '10'], body };
    assert.equal(await ask(sandboxes, post).catch((error) => error.syscall), 'connect');
    const dialling = ask(sandboxes, post).catch((error) => error.code);
    sandboxes.destroy(new Error('gone'));
    assert.equal(await dialling, 'not_dialled');
    assert.deepEqual([body.readableFlowing, body.readableDidRead, body.destroyed], [null, false, false]);
  });

  it('are not dialled for each request of a burst, which take those that answers set free', async () => {
    const sandboxes = await start(always(OK));
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask(sandboxes)));
    assert.deepEqual(new Set(answers), new Set(['ok']));
    const dialled = upstream?.connections.length ?? 0;
    assert.ok(dialled < 60, `${dialled} connections for 100 requests`);
  });

  it('are dialled for as many requests as a slow sandbox leaves waiting', async () => {
    const sandboxes = await start(() => {});
    const failed = Promise.allSettled(Array.from({ length: 30 }, () => ask(sandboxes)));
    await until('each has its own', () => upstream?.connections.length === 30);
    sandboxes.destroy(new Error('gone'));
    await failed;
  });

  it('that nobody accepts are told of to all who waited for one', async () => {
    const sandboxes = await start(() => {});
    await upstream?.close();
    const failures = await Promise.all(
      Array.from({ length: 30 }, () => ask(sandboxes).catch((error) => `${error.syscall} ${error.code}`)),
    );
    assert.deepEqual(new Set(failures), new Set(['connect ECONNREFUSED']));
    assert.equal(sandboxes.running(), 0);
  });

  it('carry large bodies whole, however late their pieces are given back', async () => {
    const bodies = Array.from({ length: 6 }, (_, index) => randomBytes(3_000_000 + index * 1111));
    const sandboxes = await start(async (sandbox) => {
      for (;;) {
        const { line } = await sandbox.takeHead();
        const [, kind, index] = /\/(\w+)\/(\d)/.exec(line) ?? [];
        const body = bodies[Number(index)] as Buffer;
        if (kind === 'chunks') {
          sandbox.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
          for (let at = 0; at < body.length; at += 40_000) {
            const piece = body.subarray(at, at + 40_000);
            sandbox.write(`${piece.length.toString(16)}\r\n`);
            sandbox.write(piece);
            sandbox.write('\r\n');
          }
          sandbox.write('0\r\n\r\n');
        } else {
          sandbox.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
          sandbox.write(body);
        }
      }
    });
    const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    let lent = 0;
    const fetch = (path: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const pieces: Promise<Buffer>[] = [];
        const handler: UpstreamHandler = {
          onHead: () => {},
          onWhole: () => {},
          onData: (chunk, release) => {
            if (release !== undefined) lent++;
            // As a slow client would: the bytes are looked at later.
            pieces.push(
              delay(Math.random() * 5).then(() => {
                const copy = Buffer.from(chunk);
                release?.();
                return copy;
              }),
            );
            if (pieces.length % 3 !== 0) return;
            control.pause();
            Promise.all(pieces).then(() => control.resume());
          },
          onEnd: () => void Promise.all(pieces).then((all) => resolve(digest(Buffer.concat(all)))),
          onError: reject,
        };
        const control = sandboxes.dispatch({ ...GET, path }, handler);
      });
    for (const kind of ['length', 'chunks'])
      assert.deepEqual(
        await Promise.all(bodies.map((_, index) => fetch(`/${kind}/${index}`))),
        bodies.map(digest),
        kind,
      );
    assert.ok(lent > 100, `${lent} pieces went without a copy`);
  });
});
