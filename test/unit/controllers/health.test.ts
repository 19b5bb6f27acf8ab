import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import { type DeadlyProbe, followHealth } from '../../../src/engine/controllers/pod/health.ts';
import { problemOf } from '../../../src/engine/controllers/pod/probe.ts';
import type { Container } from '../../../src/kubernetes/index.ts';
import { until } from '../../support/until.ts';

const exec = { command: ['check'] };

/** A container whose command answers with what `answer` gives. */
function follow(probes: Partial<Container>, answer: () => number) {
  const told: string[] = [];
  const ended = new AbortController();
  const target = {
    address: '127.0.0.1',
    container: { name: 'c', image: 'i', ...probes },
    exec: async () => answer(),
  };
  const listener = {
    started: () => told.push('started'),
    ready: (ready: boolean) => told.push(ready ? 'ready' : 'unready'),
    unhealthy: (which: DeadlyProbe, problem: string) => told.push(`${which}: ${problem}`),
    dead: (which: DeadlyProbe) => told.push(`dead by ${which}`),
  };
  const over = followHealth(target, listener, ended.signal);
  return { told, over, end: () => ended.abort() };
}

describe('health of a container', () => {
  it('without probes it has started and is ready at once', async () => {
    const { told, over } = follow({}, () => 0);
    await over;
    assert.deepEqual(told, ['started', 'ready']);
  });

  it('readiness and liveness wait for the startup probe', async () => {
    let started = false;
    const probe = { exec, periodSeconds: 1, failureThreshold: 30 };
    const { told, end, over } = follow({ startupProbe: probe }, () => (started ? 0 : 1));
    await until('a failure is counted', () => told.length === 1);
    assert.deepEqual(told, ['startup: command ended with 1']);
    started = true;
    await over;
    assert.deepEqual(told.slice(-2), ['started', 'ready']);
    end();
  });

  it('a start that takes longer than its probe allows ends it', async () => {
    const { told, over } = follow({ startupProbe: { exec, periodSeconds: 1, failureThreshold: 1 } }, () => 1);
    await over;
    assert.deepEqual(told, ['startup: command ended with 1', 'dead by startup']);
  });

  it('so many failures of liveness in a row end it, others do not', async () => {
    const answers = [1, 0, 1, 1];
    const livenessProbe = { exec, periodSeconds: 0.02, failureThreshold: 2 };
    const { told, over } = follow({ livenessProbe }, () => answers.shift() ?? 1);
    await over;
    const failure = 'liveness: command ended with 1';
    assert.deepEqual(told, ['started', 'ready', failure, failure, failure, 'dead by liveness']);
  });

  it('nothing is told once nobody follows', async () => {
    const { told, end, over } = follow({ livenessProbe: { exec, periodSeconds: 0.02 } }, () => {
      end();
      return 1;
    });
    await over;
    assert.deepEqual(told, ['started', 'ready']);
  });
});

describe('a gRPC probe', () => {
  const bytes = {
    requestDeserialize: (b: Buffer) => b,
    requestSerialize: (b: Buffer) => b,
    responseDeserialize: (b: Buffer) => b,
    responseSerialize: (b: Buffer) => b,
  };
  const check = {
    path: '/grpc.health.v1.Health/Check',
    requestStream: false,
    responseStream: false,
    ...bytes,
  } as const;

  it('asks the health service as its clients do', async () => {
    const server = new Server();
    const asked: string[] = [];
    server.addService(
      { check },
      {
        check: ({ request }: { request: Buffer }, answer: (error: object | null, response?: Buffer) => void) => {
          const service = request.subarray(2).toString();
          asked.push(service);
          if (service === 'unknown') answer({ code: status.NOT_FOUND, details: 'unknown service' });
          else answer(null, Buffer.from([8, service === 'down' ? 2 : 1]));
        },
      },
    );
    const port = await new Promise<number>((bound, failed) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bind) =>
        error ? failed(error) : bound(bind),
      ),
    );
    const target = { address: '127.0.0.1', container: { name: 'c', image: 'i' }, exec: async () => 0 };
    const ask = (service?: string) =>
      problemOf({ grpc: { port, ...(service === undefined ? {} : { service }) } }, target);
    assert.equal(await ask(), undefined);
    assert.equal(await ask('up'), undefined);
    assert.equal(await ask('down'), 'the service is not serving');
    assert.equal(await ask('unknown'), 'gRPC status 5');
    assert.deepEqual(asked, ['', 'up', 'down', 'unknown']);
    server.forceShutdown();
    assert.match((await ask()) ?? '', /ECONNREFUSED/);
  });

  it('a server that says nothing fails it in time', async () => {
    const server = createServer(() => {});
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    const { port } = server.address() as AddressInfo;
    const target = { address: '127.0.0.1', container: { name: 'c', image: 'i' }, exec: async () => 0 };
    assert.match((await problemOf({ grpc: { port }, timeoutSeconds: 0.05 }, target)) ?? '', /no answer within 50 ms/);
    server.close();
  });
});
