import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import WebSocket from 'ws';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  loadKubeConfig,
  SANDBOXES,
  type Sandbox,
} from '../../src/kubernetes/index.ts';
import { takePodSnapshot } from '../../src/router/wake/idle/pod-snapshot.ts';
import { createReady, pause } from '../integration/world.ts';
import { projectRoot } from '../support/checkout.ts';
import { programSandbox } from '../support/program-sandbox.ts';
import { rawClient } from '../support/raw-connection.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

const CHROMIUM = '/usr/bin/chromium';
/** Rounds of writing during a pause; more of them with SLEEP_ROUNDS. */
const ROUNDS = Number(process.env.SLEEP_ROUNDS ?? 5);

/** A sandbox that runs support/sleeper-app.mjs. */
const sleeper = (name: string, annotations: Record<string, string> = {}): Sandbox =>
  programSandbox({ name, program: 'sleeper-app.mjs', port: 8888, environment: {}, metadata: { annotations } });

describe('connections that sleep with their sandbox, in gVisor', { timeout: 120_000 }, () => {
  let up: RunningUp;
  let client: HttpResourceClient;
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-sleep-'));
  before(async () => {
    const command = [process.execPath, join(projectRoot, 'src/cli/main.ts'), 'up'];
    up = await startUp({ directory: projectRoot, stateDirectory, command });
    client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
  });
  after(async () => {
    await client?.close();
    await up?.interrupt();
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  const viewOf = async (name: string) =>
    (await (await up.request(`/-/v1/sandboxes/${name}`)).json()) as { state: string; sleepingSockets: number };
  const asleep = (name: string, sockets: number) =>
    until(`${sockets} sleep with ${name}`, async () => {
      const { state, sleepingSockets } = await viewOf(name);
      return state === 'paused' && sleepingSockets === sockets;
    });
  const log = async (name: string) => (await (await up.request(`/${name}/log`)).json()) as string[];
  const open = async (name: string, protocols: string[] = []) => {
    const headers = { authorization: `Bearer ${up.token}` };
    const socket = new WebSocket(`${up.url.replace('http', 'ws')}/${name}/`, protocols, { headers });
    await once(socket, 'open');
    return socket;
  };
  const answer = async (socket: WebSocket, message: string | Buffer) => {
    const [[data]] = await Promise.all([once(socket, 'message'), socket.send(message)]);
    return JSON.parse(String(data)) as { number: number; text: string };
  };

  it('pings are answered while it sleeps, and wake nobody; what is sent wakes it, and nothing is lost or doubled', async () => {
    await createReady(client, sleeper('talk'));
    const socket = await open('talk');
    assert.deepEqual(await answer(socket, 'one'), { number: 1, opcode: 1, text: 'one' });
    for (let round = 0; round < 2; round++) {
      await pause(client, 'talk');
      await asleep('talk', 1);
      const [[pong]] = await Promise.all([once(socket, 'pong'), socket.ping(`ping ${round}`)]);
      assert.equal(String(pong), `ping ${round}`);
      assert.deepEqual(await viewOf('talk').then(({ state }) => state), 'paused');
      assert.deepEqual(await answer(socket, `round ${round}`), {
        number: round + 2,
        opcode: 1,
        text: `round ${round}`,
      });
    }
    await pause(client, 'talk');
    await asleep('talk', 1);
    assert.deepEqual(await answer(socket, Buffer.alloc(200_000, 7)), { number: 4, opcode: 2, text: '200000 bytes' });
    assert.deepEqual(await log('talk'), ['socket opened'], 'the sandbox saw no ping');
    const metrics = await (await fetch(`${up.adminUrl}/metrics`)).text();
    assert.match(metrics, /^sandbox_router_sleeping_sockets 0$/m);
    socket.terminate();
  });

  it('frames go on where they were cut, data and pings alike', async () => {
    await createReady(client, sleeper('cut'));
    const raw = await rawClient(up.url);
    const key = 'dGhlIHNhbXBsZSBub25jZQ==';
    raw.write(
      `GET /cut/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${up.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
    );
    assert.match((await raw.takeHead()).line, /^HTTP\/1.1 101 /);
    const frame = maskedFrame(1, 'cut in the middle');
    raw.write(frame.subarray(0, 9));
    await pause(client, 'cut');
    await asleep('cut', 1);
    raw.write(frame.subarray(9));
    const reply = JSON.stringify({ number: 1, opcode: 1, text: 'cut in the middle' });
    assert.equal((await raw.take(2 + reply.length)).slice(2), reply);
    await pause(client, 'cut');
    await asleep('cut', 1);
    const ping = maskedFrame(9, 'in pieces');
    for (const at of [0, 1, 5, 9]) {
      raw.write(ping.subarray(at, at === 0 ? 1 : at === 1 ? 5 : at === 5 ? 9 : undefined));
      await delay(20);
    }
    assert.equal(await raw.take(11), '\x8a\x09in pieces');
    assert.equal((await viewOf('cut')).state, 'paused');
    // The beginning of a ping, and only then what needs the sandbox.
    raw.write(ping.subarray(0, 3));
    await delay(20);
    raw.write(Buffer.concat([ping.subarray(3), maskedFrame(1, 'now')]));
    assert.equal(await raw.take(11), '\x8a\x09in pieces');
    const next = JSON.stringify({ number: 2, opcode: 1, text: 'now' });
    assert.equal((await raw.take(2 + next.length)).slice(2), next);
    raw.socket.destroy();
  });

  it('a WebSocket and an event stream in Chromium sleep and wake five times, with not one message lost or doubled', {
    skip: existsSync(CHROMIUM) ? false : `${CHROMIUM} is missing`,
  }, async (test) => {
    // Open connections are no use: it is paused for want of it.
    await createReady(client, sleeper('page', { 'sandbox-router/idle-timeout': '1s' }));
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    test.after(() => browser.close());
    const page = await browser.newPage();
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ sandbox: 'page' });
    const link = (await (await up.request('/-/v1/links', { method: 'POST', headers, body })).json()) as { url: string };
    await page.goto(link.url);
    await page.evaluate(`(async () => {
      globalThis.seen = { messages: [], events: [], opened: [], broken: [] };
      globalThis.socket = new WebSocket(new URL('/', location.href).href.replace(/^http/, 'ws'));
      globalThis.stream = new EventSource('/events');
      socket.onmessage = ({ data }) => seen.messages.push(JSON.parse(data));
      socket.onclose = ({ code }) => seen.broken.push('socket ' + code);
      stream.onmessage = ({ data, lastEventId }) => seen.events.push(data + ' ' + lastEventId);
      stream.onerror = () => seen.broken.push('stream');
      const open = (each, name) => new Promise((resolve) => { each.onopen = () => { seen.opened.push(name); resolve(); }; });
      await Promise.all([open(socket, 'socket'), open(stream, 'stream')]);
    })()`);
    const expected = { messages: [] as object[], events: [] as string[] };
    for (let round = 0; round < 5; round++) {
      await asleep('page', 2);
      // Of two messages the first wakes it, and the second waits behind it; then the sandbox speaks on its own.
      await page.evaluate(`for (const part of ['a', 'b']) socket.send(part + ${round})`);
      expected.messages.push(
        ...['a', 'b'].map((part, at) => ({ number: 2 * round + at + 1, opcode: 1, text: part + round })),
      );
      await page.waitForFunction(`seen.messages.length === ${expected.messages.length}`);
      for (let event = 3 * round + 1; event <= 3 * round + 3; event++) {
        await up.request('/page/say');
        expected.events.push(`${event} ${event}`);
      }
      await page.waitForFunction(`seen.events.length === ${expected.events.length}`);
    }
    const seen = await page.evaluate('seen');
    assert.deepEqual(seen, { ...expected, opened: (seen as { opened: string[] }).opened, broken: [] });
    assert.equal((seen as { opened: string[] }).opened.length, 2);
    assert.deepEqual((await log('page')).toSorted(), ['socket opened', 'stream opened']);
  });

  it('clients that leave while it sleeps are told nothing by it, and it hears of each when it is awake', async () => {
    await createReady(client, sleeper('left'));
    const [polite, gone, stays] = await Promise.all([open('left'), open('left'), open('left')]);
    const controller = new AbortController();
    const stream = await up.request('/left/events', {
      signal: controller.signal,
      headers: { accept: 'text/event-stream' },
    });
    assert.equal(stream.status, 200);
    await pause(client, 'left');
    await asleep('left', 4);
    const [[code]] = await Promise.all([once(polite, 'close'), polite.close(4001, 'enough')]);
    assert.equal(code, 4001);
    gone.terminate();
    controller.abort();
    assert.equal((await viewOf('left')).state, 'paused');
    await answer(stays, 'hello');
    await until('it heard of all', async () => (await log('left')).length >= 8);
    assert.deepEqual((await log('left')).toSorted(), [
      'socket closed with 4001',
      'socket gone',
      'socket gone',
      'socket opened',
      'socket opened',
      'socket opened',
      'stream closed',
      'stream opened',
    ]);
    stays.terminate();
  });

  it('data that may not wake it closes its connection, and it goes on sleeping', async () => {
    await createReady(client, sleeper('alone'));
    const socket = await open('alone');
    const annotations = { 'sandbox-router/wake': 'never' };
    const key = { namespace: 'default', name: 'alone' };
    await client.patch(SANDBOXES, key, { metadata: { annotations } }, { type: 'merge' });
    await pause(client, 'alone');
    await asleep('alone', 1);
    const [[code, reason]] = await Promise.all([once(socket, 'close'), socket.send('wake up')]);
    assert.equal(code, 1008);
    assert.match(String(reason), /sandbox-router\/wake says never/);
    assert.equal((await viewOf('alone')).state, 'paused');
  });

  it('another memory than the one it slept with is another start: 1012, and no byte of before', async () => {
    await createReady(client, sleeper('past'));
    const first = await open('past');
    assert.equal((await answer(first, 'one')).number, 1);
    const snapshot = await takePodSnapshot(client, { namespace: 'default', name: 'past' }, new Date());
    assert.equal((await answer(first, 'two')).number, 2);
    await pause(client, 'past');
    await asleep('past', 1);
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ snapshot });
    const closed = once(first, 'close');
    const restored = await up.request('/-/v1/sandboxes/past/restore', { method: 'POST', headers, body });
    assert.equal(restored.status, 202, await restored.clone().text());
    const [code, reason] = await closed;
    assert.deepEqual([code, String(reason)], [1012, 'the sandbox was restarted']);
    const again = await open('past');
    assert.equal((await answer(again, 'other two')).number, 2);
    again.terminate();
  });

  it(`${ROUNDS} pauses while somebody writes on and on: each message is answered once, in its order`, async () => {
    await createReady(client, sleeper('busy'));
    const socket = await open('busy');
    const answers: string[] = [];
    socket.on('message', (data) => answers.push((JSON.parse(String(data)) as { text: string }).text));
    socket.on('close', (code, reason) => assert.fail(`closed with ${code} ${reason}`));
    let sent = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const writing = setInterval(() => socket.send(String(sent++)), 3);
      await delay(Math.random() * 60);
      const key = { namespace: 'default', name: 'busy' };
      await client.patch(SANDBOXES, key, { spec: { operatingMode: 'Suspended' } }, { type: 'merge' });
      await delay(Math.random() * 400);
      clearInterval(writing);
      // What was on its way when the sandbox slept waits at most for whatever comes next.
      await until('everything is answered', () => answers.length >= sent, 3000).catch(() =>
        socket.send(String(sent++)),
      );
      await until('everything is answered', () => answers.length >= sent);
      assert.deepEqual(
        answers,
        Array.from({ length: sent }, (_, index) => String(index)),
      );
    }
    socket.removeAllListeners('close').terminate();
  });
});

/** A frame as a client sends it. */
function maskedFrame(opcode: number, text: string): Buffer {
  const mask = Buffer.from([1, 2, 3, 4]);
  const payload = Buffer.from(text).map((byte, index) => byte ^ (mask[index % 4] as number));
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length]), mask, payload]);
}
