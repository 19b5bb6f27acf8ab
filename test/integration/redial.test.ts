import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import WebSocket from 'ws';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause, podOf } from './world.ts';

describe('WebSockets of a cluster whose pods wake at another address', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 120_000,
}, () => {
  let world: ClusterWorld;
  before(async () => {
    // All but those that start cold say that they were restored, as GKE's Pod Snapshots do.
    world = await clusterWorld({ restores: ({ metadata }) => !metadata.name.startsWith('cold') });
  });
  after(() => world?.close());

  const headers = () => ({ authorization: `Bearer ${world.token}` });
  const redials = { metadata: { annotations: { 'sandbox-router/redial-websockets': 'true' } } };
  const viewOf = async (name: string) =>
    (await (await fetch(`${world.url}/-/v1/sandboxes/${name}`, { headers: headers() })).json()) as {
      state: string;
      sleepingSockets: number;
    };
  const open = async (name: string) => {
    const socket = new WebSocket(`${world.url.replace('http', 'ws')}/${name}/`, { headers: headers() });
    await once(socket, 'open');
    return socket;
  };
  const echo = async (socket: WebSocket, text: string) => {
    const [[data]] = await Promise.all([once(socket, 'message'), socket.send(text)]);
    return String(data);
  };
  const asleep = (name: string) =>
    until(`one socket sleeps with ${name}`, async () => {
      const { state, sleepingSockets } = await viewOf(name);
      return state === 'paused' && sleepingSockets === 1;
    });

  it('sleep where their sandbox allows to dial again, answer pings, and go on behind the same handshake', async () => {
    await createReady(world.client, echoSandbox('again', redials));
    const socket = await open('again');
    assert.equal(socket.extensions, '', 'what has a memory of its own is not agreed on');
    assert.equal(await echo(socket, 'before'), 'before');
    const address = (await podOf(world.client, 'again')).status?.podIP;
    for (let round = 0; round < 3; round++) {
      await pause(world.client, 'again');
      await asleep('again');
      const [[pong]] = await Promise.all([once(socket, 'pong'), socket.ping('there?')]);
      assert.equal(String(pong), 'there?');
      assert.equal((await viewOf('again')).state, 'paused');
      assert.equal(await echo(socket, `round ${round}`), `round ${round}`);
    }
    assert.notEqual((await podOf(world.client, 'again')).status?.podIP, address);
    socket.terminate();
  });

  it('are told 1012 when the wake is a cold start', async () => {
    await createReady(world.client, echoSandbox('cold', redials));
    const socket = await open('cold');
    await pause(world.client, 'cold');
    await asleep('cold');
    const [[code, reason]] = await Promise.all([once(socket, 'close'), socket.send('anybody?')]);
    assert.deepEqual([code, String(reason)], [1012, 'the sandbox was restarted']);
  });

  it('are told 1012 when they are paused, where nobody said that they may be dialled again', async () => {
    await createReady(world.client, echoSandbox('plain'));
    const socket = await open('plain');
    const closed = once(socket, 'close');
    await pause(world.client, 'plain');
    assert.equal((await closed)[0], 1012);
    assert.equal((await viewOf('plain')).sleepingSockets, 0);
  });

  it('are told 1012 when a message was under way in the end: its beginning is gone', async () => {
    await createReady(world.client, echoSandbox('half', redials));
    const socket = await open('half');
    const closed = once(socket, 'close');
    await new Promise((resolve) => socket.send('first part', { fin: false }, resolve));
    await pause(world.client, 'half');
    assert.equal((await closed)[0], 1012);
  });
});
