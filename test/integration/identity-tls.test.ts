import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type Agent, Agent as HttpsAgent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { type KeyPair, makeAuthority, makeServerCertificate } from '../../src/engine/api/tls/make-certificate.ts';
import { NAMESPACES } from '../../src/kubernetes/index.ts';
import { type ClientNames, makeClientCertificate } from '../support/certificates.ts';
import { http2Client } from '../support/http2-client.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, routerReady } from './world.ts';

const HOUR_MS = 3_600_000;

describe('TLS and client certificates', { skip: missingTool('etcd', 'kube-apiserver'), timeout: 200_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-tls-'));
  const path = (name: string) => join(directory, name);
  let world: ClusterWorld;
  let router: ServeProcess;
  let servers: KeyPair;
  let clients: KeyPair;
  let strangers: KeyPair;

  const replace = (name: string, content: string) => {
    writeFileSync(`${path(name)}.new`, content);
    renameSync(`${path(name)}.new`, path(name));
  };
  const install = async () => {
    const made = await makeServerCertificate(servers, ['localhost', '127.0.0.1'], Date.now(), HOUR_MS);
    replace('key.pem', made.keyPem);
    replace('cert.pem', made.certificatePem);
  };

  before(async () => {
    servers = await makeAuthority(Date.now(), HOUR_MS);
    clients = await makeAuthority(Date.now(), HOUR_MS);
    strangers = await makeAuthority(Date.now(), HOUR_MS);
    await install();
    replace('clients.pem', clients.certificatePem);
    writeFileSync(
      path('sandbox-router.yaml'),
      `
mtls:
  - spiffeId: spiffe://example.org/ns/{tenant}/sa/*
  - { dns: ci.example.com, tenant: tenant-b, scopes: [manage] }
`,
    );
    world = await clusterWorld();
    for (const name of ['tenant-a', 'tenant-b'])
      await world.client.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    await createReady(world.client, echoSandbox('box', { namespace: 'tenant-a' }));
    router = await world.anotherRouter([
      ...['--config', path('sandbox-router.yaml'), '--egress-verify', 'off'],
      ...['--tls-cert', path('cert.pem'), '--tls-key', path('key.pem'), '--tls-client-ca', path('clients.pem')],
    ]);
    await routerReady(router);
  });
  after(async () => {
    await router?.stop('SIGKILL');
    await world?.close();
    rmSync(directory, { recursive: true });
  });

  const send = (target: string, client?: KeyPair, headers: Record<string, string> = {}, agent?: Agent) =>
    new Promise<{ status: number; body: string }>((resolve, reject) => {
      const tls = client === undefined ? {} : { cert: client.certificatePem, key: client.keyPem };
      const options = { ca: servers.certificatePem, ...tls, headers, agent: agent ?? false };
      request(`${router.url}${target}`, options, async (response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of response) chunks.push(chunk as Buffer);
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
      })
        .on('error', reject)
        .end();
    });
  const agentOf = (tenant: string) => ({ uris: [`spiffe://example.org/ns/${tenant}/sa/agent`] });

  it('speaks TLS, to API keys as before', async () => {
    assert.match(router.url, /^https:/);
    const answer = await send('/box/', undefined, { authorization: `Bearer ${world.tenantTokens.a}` });
    assert.equal(answer.status, 200);
    assert.match(answer.body, /"x-forwarded-proto","https"/);
  });

  const certificates: [what: string, names: ClientNames, authority: () => KeyPair, target: string, expected: number][] =
    [
      ['of a SPIFFE ID reaches its tenant', agentOf('tenant-a'), () => clients, '/box/', 200],
      ['of a SPIFFE ID reaches no other tenant', agentOf('tenant-b'), () => clients, '/box.tenant-a/', 404],
      ['has the scopes of its rule alone', agentOf('tenant-a'), () => clients, '/-/v1/sandboxes', 403],
      ['of another trust domain', { uris: ['spiffe://example.com/ns/tenant-a/sa/agent'] }, () => clients, '/box/', 401],
      [
        'with more path than the rule',
        { uris: ['spiffe://example.org/ns/tenant-a/sa/a/b'] },
        () => clients,
        '/box/',
        401,
      ],
      ['with a tenant that is no name', { uris: ['spiffe://example.org/ns/../sa/agent'] }, () => clients, '/box/', 401],
      [
        'of two SPIFFE IDs',
        { uris: [...agentOf('tenant-a').uris, ...agentOf('tenant-b').uris] },
        () => clients,
        '/box/',
        401,
      ],
      [
        'whose name only looks like several',
        { dns: ['x, URI:spiffe://example.org/ns/tenant-a/sa/agent'] },
        () => clients,
        '/box/',
        401,
      ],
      ['of an authority that is not trusted', agentOf('tenant-a'), () => strangers, '/box/', 401],
      ['that has expired', { ...agentOf('tenant-a'), untilMs: -60_000 }, () => clients, '/box/', 401],
      ['that is not valid yet', { ...agentOf('tenant-a'), fromMs: 1_800_000 }, () => clients, '/box/', 401],
      ['of a DNS name with the scope manage', { dns: ['ci.example.com'] }, () => clients, '/-/v1/sandboxes', 200],
      ['of a DNS name without the scope route', { dns: ['ci.example.com'] }, () => clients, '/box.tenant-b/', 403],
      ['of a DNS name below the one of the rule', { dns: ['x.ci.example.com'] }, () => clients, '/box/', 401],
    ];
  for (const [what, names, authority, target, expected] of certificates)
    it(`a certificate ${what}: ${expected}`, async () => {
      const client = await makeClientCertificate(authority(), names);
      const answer = await send(target, client);
      assert.equal(answer.status, expected, answer.body);
    });

  it('a certificate counts for each request of a connection of HTTP/2', async () => {
    const { certificatePem: cert, keyPem: key } = await makeClientCertificate(clients, agentOf('tenant-a'));
    const connection = await http2Client(router.url, undefined, { ca: servers.certificatePem, cert, key });
    assert.equal((await connection.send({ ':path': '/box/' })).status, 200);
    assert.equal((await connection.send({ ':path': '/box.tenant-b/' })).status, 404);
    connection.close();
  });

  it('a certificate cut short or changed makes no connection, and none at all is nobody', async () => {
    const client = await makeClientCertificate(clients, agentOf('tenant-a'));
    const other = await makeClientCertificate(clients, agentOf('tenant-a'));
    await assert.rejects(send('/box/', { ...client, keyPem: other.keyPem }));
    await assert.rejects(send('/box/', { ...client, certificatePem: client.certificatePem.slice(0, 200) }));
    assert.equal((await send('/box/')).status, 401);
  });

  it('a header comes before the certificate; text that looks like one is nobody', async () => {
    const client = await makeClientCertificate(clients, agentOf('tenant-a'));
    const both = await send('/box/', client, { authorization: `Bearer ${world.tenantTokens.b}` });
    assert.equal(both.status, 404, 'tenant-b has no such sandbox');
    const own = await send('/box/', client, { authorization: 'Bearer of-the-application' });
    assert.match(own.body, /of-the-application/, 'what is not ours goes on');
    const wrong = await send('/box/', client, { 'sandbox-authorization': 'Bearer wrong' });
    assert.equal(wrong.status, 401);
    const forged = 'certificate {"spiffeIds":["spiffe://example.org/ns/tenant-a/sa/x"],"fromMs":0,"untilMs":9e15}';
    assert.equal((await send('/box/', undefined, { authorization: `Bearer ${forged}` })).status, 401);
  });

  it('pages of other origins can not use it', async () => {
    const client = await makeClientCertificate(clients, agentOf('tenant-a'));
    assert.equal((await send('/box/', client, { origin: 'https://evil.test' })).status, 403);
    assert.equal((await send('/box/', client, { 'sec-fetch-site': 'cross-site' })).status, 403);
  });

  it('is over for a connection that is open still, once the certificate is', async () => {
    const client = await makeClientCertificate(clients, { ...agentOf('tenant-a'), untilMs: 4000 });
    const agent = new HttpsAgent({ keepAlive: true, maxSockets: 1 });
    try {
      assert.equal((await send('/box/', client, {}, agent)).status, 200);
      await until('it is refused', async () => (await send('/box/', client, {}, agent)).status === 401);
    } finally {
      agent.destroy();
    }
  });

  it('takes new certificates and authorities while it runs, and keeps the old where they do not fit', async () => {
    const serial = async () => {
      const socket = connect({
        host: '127.0.0.1',
        port: Number(new URL(router.url).port),
        ca: servers.certificatePem,
        servername: 'localhost',
      });
      await once(socket, 'secureConnect');
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      return serialNumber;
    };
    const first = await serial();
    await install();
    const second = await until('the new certificate is shown', async () => {
      const shown = await serial();
      return shown === first ? undefined : shown;
    });
    const unfit = await makeServerCertificate(servers, ['localhost', '127.0.0.1'], Date.now(), HOUR_MS);
    replace('cert.pem', unfit.certificatePem);
    await until('it is refused', async () => /do not belong together/.test(router.output()));
    assert.equal(await serial(), second);
    const stranger = await makeClientCertificate(strangers, agentOf('tenant-a'));
    replace('key.pem', unfit.keyPem);
    replace('clients.pem', clients.certificatePem + strangers.certificatePem);
    await until('the authority is known', async () => (await send('/box/', stranger)).status === 200);
  });
});
