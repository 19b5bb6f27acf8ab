import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import WebSocket from 'ws';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  loadKubeConfig,
  type Sandbox,
} from '../../src/kubernetes/index.ts';
import { createReady, pause } from '../integration/world.ts';
import { projectRoot } from '../support/checkout.ts';
import { until } from '../support/until.ts';
import { type RunningUp, startUp } from '../support/up.ts';

/** A sandbox that runs support/sleeper-app.mjs. */
function sleeper(name: string, annotations: Record<string, string> = {}): Sandbox {
  const source = readFileSync(join(projectRoot, 'test/support/sleeper-app.mjs'), 'utf8');
  return {
    apiVersion: 'agents.x-k8s.io/v1beta1',
    kind: 'Sandbox',
    metadata: { name, namespace: 'default', annotations },
    spec: {
      podTemplate: {
        metadata: { labels: { 'sandbox-router/egress': 'none' } },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'sleeper',
              image: 'sandbox-router.local/toolbox',
              command: ['sh', '-c', 'exec "$SANDBOX_ROUTER_NODE" --input-type=module -e "$APP_SOURCE"'],
              env: [{ name: 'APP_SOURCE', value: source }],
              ports: [{ name: 'http', containerPort: 8888 }],
            },
          ],
        },
      },
    },
  } as Sandbox;
}

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

  it('a WebSocket goes on where it was: what is sent wakes the sandbox, and nothing is lost or doubled', async () => {
    await createReady(client, sleeper('talk'));
    const socket = await open('talk');
    assert.deepEqual(await answer(socket, 'one'), { number: 1, opcode: 1, text: 'one' });
    for (let round = 0; round < 3; round++) {
      await pause(client, 'talk');
      await asleep('talk', 1);
      const { number, text } = await answer(socket, `round ${round}`);
      assert.deepEqual([number, text], [round + 2, `round ${round}`]);
    }
    assert.deepEqual(await log('talk'), ['socket opened']);
    socket.close(4000);
  });
});
