import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import { createServer, request } from 'node:https';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { WebSocket, WebSocketServer } from 'ws';
import { type KeyPair, makeAuthority, makeServerCertificate } from '../../src/engine/api/tls/make-certificate.ts';
import { freePort } from '../support/free-port.ts';
import { answerOf, http2Client } from '../support/http2-client.ts';
import { until } from '../support/until.ts';
import { startWire, type Wire } from '../support/wire.ts';

const run = promisify(execFile);
const HOUR_MS = 3_600_000;

describe('HTTP/2 and TLS, on both sides of the router', { timeout: 120_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-http2-tls-'));
  const path = (name: string) => join(directory, name);
  const ends: (() => unknown)[] = [];
  const ports = {} as Record<'h2' | 'https' | 'stranger' | 'misnamed' | 'plain' | 'withoutH2', number>;
  let authority: KeyPair;
  let wire: Wire;

  const replace = (name: string, content: string) => {
    writeFileSync(`${path(name)}.new`, content);
    renameSync(`${path(name)}.new`, path(name));
  };
  const install = async () => {
    const made = await makeServerCertificate(authority, ['localhost', '127.0.0.1'], Date.now(), HOUR_MS);
    replace('key.pem', made.keyPem);
    replace('cert.pem', made.certificatePem);
  };
  const listen = async (server: Server, port: number) => {
    const sockets = new Set<Socket>();
    server.on('connection', (socket) => sockets.add(socket));
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    ends.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
  };
  const material = async (by: KeyPair, name: string) => {
    const made = await makeServerCertificate(by, [name], Date.now(), HOUR_MS);
    return { cert: made.certificatePem, key: made.keyPem };
  };
  const echoHttps = (tls: { cert: string; key: string }) =>
    createServer(tls, (incoming, response) => {
      const { servername } = incoming.socket as TLSSocket & { servername: string };
      response.setHeader('x-sni', servername);
      incoming.pipe(response);
    });

  before(async () => {
    authority = await makeAuthority(Date.now(), HOUR_MS);
    const stranger = await makeAuthority(Date.now(), HOUR_MS);
    await install();
    writeFileSync(path('authority.pem'), authority.certificatePem);
    const good = await material(authority, 'box.default.svc');
    for (const name of ['h2', 'https', 'stranger', 'misnamed', 'plain', 'withoutH2'] as const)
      ports[name] = await freePort();
    const h2 = createSecureServer(good);
    h2.on('stream', (stream, headers) => {
      stream.respond({ ':status': 200, 'x-scheme': headers[':scheme'] as string }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }));
      stream.pipe(stream);
    });
    await listen(h2, ports.h2);
    const https = echoHttps(good);
    new WebSocketServer({ server: https }).on('connection', (socket) =>
      socket.on('message', (data) => socket.send(String(data))),
    );
    await listen(https, ports.https);
    await listen(echoHttps(await material(stranger, 'box.default.svc')), ports.stranger);
    await listen(echoHttps(await material(authority, 'other.default.svc')), ports.misnamed);
    await listen(echoHttps(good), ports.withoutH2);
    const { createServer: createPlain } = await import('node:http');
    await listen(
      createPlain((_incoming, response) => response.end()),
      ports.plain,
    );
    const protocols = Object.entries(ports).map(
      ([name, port]) => `${port}=${name === 'h2' || name === 'withoutH2' ? 'h2' : 'https'}`,
    );
    wire = await startWire(
      `tlsCert: ${path('cert.pem')}\ntlsKey: ${path('key.pem')}\nsandboxTlsCa: ${path('authority.pem')}\n`,
      { 'sandbox-router/protocol': protocols.join(',') },
    );
  });
  after(async () => {
    for (const end of ends) await end();
    await wire?.close();
    rmSync(directory, { recursive: true });
  });

  const client = () => http2Client(wire.router.url, wire.token, { ca: authority.certificatePem });
  const send = (port: number, body: string) =>
    new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; body: string }>((resolve, reject) => {
      const options = {
        method: 'POST',
        ca: authority.certificatePem,
        headers: { authorization: `Bearer ${wire.token}` },
        agent: false,
      } as const;
      request(`${wire.router.url}/box:${port}/`, options, async (response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of response) chunks.push(chunk as Buffer);
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString(),
        });
      })
        .on('error', reject)
        .end(body);
    });

  it('ALPN chooses h2 where a client offers it, HTTP/1.1 where it does not', async () => {
    const url = `${wire.router.url}/healthz`;
    for (const [flag, version] of [
      ['--http2', '2'],
      ['--http1.1', '1.1'],
    ] as const) {
      const { stdout } = await run('curl', [
        '-s',
        '--cacert',
        path('authority.pem'),
        flag,
        '-o',
        path('answer'),
        '-w',
        '%{http_version} %{http_code}',
        url,
      ]);
      assert.equal(stdout, `${version} 200`);
    }
    const load = await run('h2load', ['-n', '500', '-c', '2', '-m', '10', url]);
    assert.match(load.stdout, /Application protocol: h2[\s\S]*500 succeeded, 0 failed/);
  });

  it('new certificates are shown to new connections, those that are open go on', async () => {
    const connection = await client();
    const held = connection.open({ ':path': `/box:${ports.https}/`, ':method': 'POST' });
    held.write('before ');
    const serial = async () => {
      const socket = connect({
        host: '127.0.0.1',
        port: Number(new URL(wire.router.url).port),
        ca: authority.certificatePem,
        servername: 'localhost',
        ALPNProtocols: ['h2'],
      });
      await once(socket, 'secureConnect');
      assert.equal(socket.alpnProtocol, 'h2');
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    const first = await serial();
    await install();
    await until('the new certificate is shown', async () => (await serial()) !== first);
    held.end('after');
    assert.equal((await answerOf(held)).body, 'before after');
    assert.equal((await connection.send({ ':path': '/healthz' })).status, 200);
    connection.close();
  });

  it('a sandbox that speaks HTTP/2 over TLS is reached from clients of either, trailers included', async () => {
    const connection = await client();
    const over2 = await connection.send({ ':path': `/box:${ports.h2}/`, ':method': 'POST' }, 'hello');
    assert.deepEqual(
      [over2.status, over2.body, over2.headers['x-scheme'], over2.trailers['x-sum']],
      [200, 'hello', 'https', '1'],
    );
    const over1 = await send(ports.h2, 'hello');
    assert.deepEqual([over1.status, over1.body], [200, 'hello']);
    connection.close();
  });

  it('a sandbox that speaks HTTPS is told the name of its Service, and its WebSockets work', async () => {
    const answer = await send(ports.https, 'hello');
    assert.deepEqual([answer.status, answer.body, answer.headers['x-sni']], [200, 'hello', 'box.default.svc']);
    const socket = new WebSocket(`${wire.router.url.replace('https', 'wss')}/box:${ports.https}/`, {
      ca: authority.certificatePem,
      headers: { authorization: `Bearer ${wire.token}` },
    });
    await once(socket, 'open');
    socket.send('hello');
    assert.equal(String((await once(socket, 'message'))[0]), 'hello');
    socket.close();
  });

  for (const [what, name, expected] of [
    ['of an authority that is not believed', 'stranger', /not to be believed \(\w+\)/],
    ['for another sandbox', 'misnamed', /not to be believed \(ERR_TLS_CERT_ALTNAME_INVALID\)/],
    ['that is none, as it speaks no TLS,', 'plain', /does not speak TLS as it should/],
    ['in order, but no h2,', 'withoutH2', /does not speak TLS as it should/],
  ] as const)
    it(`a sandbox with a certificate ${what} gets nothing`, async () => {
      const { status, body } = await send(ports[name], 'secret');
      assert.deepEqual([status, JSON.parse(body).code], [502, 'upstream_invalid']);
      assert.match(JSON.parse(body).detail, expected);
    });
});
