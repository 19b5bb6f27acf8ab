import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, describe, it } from 'node:test';
import type { Timeouts } from '../../../src/config/index.ts';
import {
  createLines,
  createUpstreamPools,
  type ForwardRequest,
  forwardHttp,
} from '../../../src/router/forward/index.ts';
import { createRoutingTable, type PodRecord, type Route, type SandboxRecord } from '../../../src/router/table/index.ts';

const sandbox = (more: Partial<SandboxRecord> = {}): SandboxRecord =>
  ({ namespace: 'default', name: 'box', uid: 'uid-box', generation: 1, running: true, ...more }) as SandboxRecord;

const pod = (uid: string, more: Partial<PodRecord> = {}): PodRecord =>
  ({
    namespace: 'default',
    name: 'box',
    uid,
    sandboxUid: 'uid-box',
    address: '127.0.0.1',
    ready: true,
    terminating: false,
    hostNetwork: false,
    createdAtMs: 1000,
    checkpointed: false,
    resumes: '',
    ownsAddress: false,
    ...more,
  }) as PodRecord;

const timeouts = { connectMs: 5000, responseHeaderMs: 5000, idleStreamMs: 5000, requestMs: 0 } as Timeouts;

async function listening(server: Server, port = 0): Promise<number> {
  await once(server.listen(port, '127.0.0.1'), 'listening');
  after(() => server.close());
  return (server.address() as AddressInfo).port;
}

describe('a request whose dial finds its pod gone', () => {
  it('has its whole answer from the pod that goes on, though its connections had nothing that could sleep', async () => {
    const table = createRoutingTable();
    const pools = createUpstreamPools(createLines(table, { sleepingPerSandbox: 9, sleepingTotal: 9 }), {
      authority: () => undefined,
      verify: 'off',
    });
    after(pools.close);
    table.upsertSandbox(sandbox());
    table.upsertPod(pod('one'));
    const route = table.find('default', 'box') as Route;
    const bodies: string[] = [];
    const inSandbox = createServer(async (request, response) => {
      bodies.push((await request.toArray()).join(''));
      response.end('awake');
    });
    const port = await listening(inSandbox);
    inSandbox.close();

    /** In the moment between two dials: nothing of the request is in any connection. */
    function pause(): void {
      table.upsertSandbox(sandbox({ running: false, generation: 2 }));
      table.upsertPod(pod('one', { ready: false, checkpointed: true }));
      table.deletePod('one');
    }
    async function wake(): Promise<PodRecord> {
      await once(inSandbox.listen(port, '127.0.0.1'), 'listening');
      table.upsertSandbox(sandbox({ generation: 3 }));
      table.upsertPod(pod('two', { resumes: 'one', createdAtMs: 2000 }));
      return route.pod as PodRecord;
    }

    let chosen = route.pod as PodRecord;
    const poolOf = () => pools.get(route, chosen, port, 1000);
    const failures: unknown[] = [];
    const front = createServer((request, response) => {
      let pool = poolOf();
      const forward: ForwardRequest = {
        request,
        response,
        get pool() {
          return pool;
        },
        timeouts,
        path: '/',
        headers: ['host', 'box', 'content-length', '5'],
        body: request as unknown as ForwardRequest['body'],
        pacer: undefined,
        rewrite: { prefix: '', host: 'box', ownOrigin: false, browser: undefined },
        head: () => {},
        isCurrent: () => route.pod?.uid === chosen.uid && table.isRoutable(route),
        renewPool: () => {
          pool = poolOf();
        },
        rejoin: async () => {
          chosen = await wake();
          pool = poolOf();
        },
        refuse: (error) => void failures.push(error),
        dialled: (accepted) => (accepted ? undefined : setImmediate(pause)),
        streaming: () => {},
        moved: () => {},
        done: (_status, failure) => {
          if (failure === undefined) return;
          failures.push(failure);
          response.writeHead(502).end(failure.code);
        },
      };
      forwardHttp(forward);
    });
    const url = `http://127.0.0.1:${await listening(front)}/`;
    const answer = await fetch(url, { method: 'POST', body: 'hello' });
    assert.deepEqual([answer.status, await answer.text()], [200, 'awake']);
    assert.deepEqual([bodies, failures], [['hello'], []]);
  });
});
