import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { type KubernetesObject, NAMESPACES, type ResourceType } from '../../src/kubernetes/index.ts';
import { mintScopedToken, scopedTokenKey } from '../../src/router/identity/scoped-token.ts';
import { type RawAnswer, type RawRequest, rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, routerReady } from './world.ts';

type Key = Awaited<ReturnType<typeof generateKeyPair>>;

describe('tokens of others, on a real API server', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 200_000,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-tokens-'));
  const secretFile = join(directory, 'secret');
  const secret = randomBytes(48).toString('base64');
  const nowSeconds = Math.floor(Date.now() / 1000);
  let world: ClusterWorld;
  let router: ServeProcess;
  let key: Key;
  let newer: Key;
  let issuer = '';
  let published: object[] = [];
  const provider = createServer((request, response) => {
    const body =
      request.url === '/.well-known/openid-configuration'
        ? { issuer, jwks_uri: `${issuer}/keys` }
        : { keys: published };
    response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
  });
  const publish = async (pair: Key, kid: string) => ({ ...(await exportJWK(pair.publicKey)), kid, alg: 'RS256' });

  before(async () => {
    await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
    issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
    key = await generateKeyPair('RS256', { extractable: true });
    newer = await generateKeyPair('RS256', { extractable: true });
    published = [await publish(key, 'one')];
    writeFileSync(secretFile, `${secret}\n`);
    const file = join(directory, 'sandbox-router.yaml');
    writeFileSync(
      file,
      `
jwt:
  - issuer: ${issuer}
    audiences: [sandbox-router]
    algorithms: [RS256]
    scopeClaim: scope
    scopes: [route, wake, manage]
tokenReview: { audiences: [sandbox-router], subjectAccessReview: true, scopes: [route, wake, manage] }
`,
    );
    world = await clusterWorld();
    for (const name of ['tenant-a', 'tenant-b'])
      await world.client.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    await Promise.all([
      createReady(world.client, echoSandbox('box', { namespace: 'tenant-a' })),
      createReady(world.client, echoSandbox('other', { namespace: 'tenant-a' })),
      createReady(world.client, echoSandbox('box', { namespace: 'tenant-b' })),
    ]);
    router = await world.anotherRouter([
      ...['--config', file, '--egress-verify', 'off'],
      ...['--scoped-token-keys', `${secretFile},next=${secretFile}`],
    ]);
    await routerReady(router);
  });
  after(async () => {
    provider.close();
    await router?.stop('SIGKILL');
    await world?.close();
    rmSync(directory, { recursive: true });
  });

  const send = (token: string, path: string, more: Partial<RawRequest> = {}): Promise<RawAnswer> =>
    rawRequest(router.url, { path, ...more, headers: { authorization: `Bearer ${token}`, ...more.headers } });
  const outcome = ({ status, body }: RawAnswer) =>
    status < 400 ? `${status}` : `${status} ${(JSON.parse(body) as { code: string }).code}`;
  const claims = { iss: '', aud: 'sandbox-router', sub: 'ci', tenant: 'tenant-a', scope: 'route wake' };
  const jwt = (
    change: JWTPayload = {},
    { pair = key, kid = 'one', alg = 'RS256' }: { pair?: Key; kid?: string; alg?: string } = {},
  ) =>
    new SignJWT({ ...claims, iss: issuer, iat: nowSeconds, exp: nowSeconds + 600, ...change })
      .setProtectedHeader({ alg, kid })
      .sign(pair.privateKey);

  describe('a JWT', () => {
    it('reaches its tenant, with the scopes that it has', async () => {
      assert.equal(outcome(await send(await jwt(), '/box/')), '200');
      assert.equal(outcome(await send(await jwt(), '/box.tenant-b/')), '404 sandbox_not_found');
      assert.equal(outcome(await send(await jwt(), '/-/v1/sandboxes')), '403 forbidden');
      assert.equal(outcome(await send(await jwt({ scope: 'manage' }), '/-/v1/sandboxes')), '200');
      assert.equal(outcome(await send(await jwt({ scope: 'manage' }), '/box/')), '403 forbidden');
      assert.equal(outcome(await send(await jwt({ scope: 'root' }), '/box/')), '403 forbidden');
    });
    it('may be as late as clocks differ', async () => {
      assert.equal(outcome(await send(await jwt({ exp: nowSeconds - 30 }), '/box/')), '200');
    });

    const forged = (header: object, payload: object, signature: string) =>
      [header, payload]
        .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
        .concat(signature)
        .join('.');
    const good = () => ({ ...claims, iss: issuer, iat: nowSeconds, exp: nowSeconds + 600 });
    const refused: [what: string, token: () => Promise<string> | string][] = [
      ['expired', () => jwt({ exp: nowSeconds - 90 })],
      ['not valid yet', () => jwt({ nbf: nowSeconds + 120 })],
      ['without an end', () => jwt({ exp: undefined as never })],
      ['of another audience', () => jwt({ aud: 'other' })],
      ['without audience', () => jwt({ aud: undefined as never })],
      ['of another issuer', () => jwt({ iss: 'https://other.test' })],
      ['of an issuer that only begins alike', () => jwt({ iss: `${issuer}/x` })],
      ['without tenant', () => jwt({ tenant: undefined })],
      ['whose tenant is no name', () => jwt({ tenant: '../default' })],
      ['whose tenants are a list', () => jwt({ tenant: ['tenant-a'] })],
      ['signed by another key', () => jwt({}, { pair: newer })],
      ['with a path as key id', () => jwt({}, { kid: '../../etc/passwd', pair: newer })],
      ['with alg none', () => forged({ alg: 'none' }, good(), '')],
      ['with alg none and a signature', () => forged({ alg: 'none', kid: 'one' }, good(), 'AAAA')],
      [
        'signed with an algorithm that is not allowed',
        async () => {
          const pair = await generateKeyPair('ES256');
          return jwt({}, { pair, alg: 'ES256' });
        },
      ],
      [
        'signed with the public key as HMAC secret',
        async () => {
          const head = forged({ alg: 'HS256', kid: 'one' }, good(), '').slice(0, -1);
          const pem = await exportSPKI(key.publicKey);
          return `${head}.${createHmac('sha256', pem).update(head).digest('base64url')}`;
        },
      ],
      [
        'that brings its own key',
        async () => {
          const jwk = await exportJWK(newer.publicKey);
          return new SignJWT(good())
            .setProtectedHeader({ alg: 'RS256', jwk, jku: 'http://127.0.0.1:1/' })
            .sign(newer.privateKey);
        },
      ],
      [
        'changed in its payload',
        async () => {
          const [head, , signature] = (await jwt()).split('.');
          return [
            head,
            Buffer.from(JSON.stringify({ ...good(), tenant: 'tenant-b' })).toString('base64url'),
            signature,
          ].join('.');
        },
      ],
      ['cut short', async () => (await jwt()).slice(0, -1)],
      ['too long', async () => jwt({ filler: 'x'.repeat(9000) })],
    ];
    for (const [what, token] of refused)
      it(`is refused ${what}`, async () =>
        assert.equal(outcome(await send(await token(), '/box/')), '401 unauthenticated'));

    it('is refused under another scheme, alone or beside another header', async () => {
      const token = await jwt();
      const answer = (headers: Record<string, string>) => rawRequest(router.url, { path: '/box/', headers });
      assert.equal(outcome(await answer({ authorization: `Basic ${token}` })), '401 unauthenticated');
      assert.equal(outcome(await answer({ authorization: token })), '401 unauthenticated');
      const both = { 'sandbox-authorization': 'Bearer wrong', authorization: `Bearer ${token}` };
      assert.equal(outcome(await answer(both)), '401 unauthenticated', 'ours decides');
    });

    it('never shows in the log', async () => assert.doesNotMatch(router.output(), /eyJ/));
  });

  describe('a scoped token', () => {
    const mint = (name = 'box', seconds = nowSeconds + 600, id?: string) =>
      mintScopedToken(scopedTokenKey(Buffer.from(secret), id), {
        namespace: 'tenant-a',
        name,
        expiresAtSeconds: seconds,
      });

    it('reaches its sandbox, by either version', async () => {
      assert.equal(outcome(await send(mint(), '/box/')), '200');
      assert.equal(outcome(await send(mint('box', nowSeconds + 600, 'next'), '/box.tenant-a/')), '200');
    });
    it('reaches no other, and nothing tells whether there is one', async () => {
      for (const path of ['/other/', '/nobody/', '/box.tenant-b/', '/box.nowhere/'])
        assert.equal(outcome(await send(mint(), path)), '403 forbidden', path);
      assert.equal(outcome(await send(mint(), '/-/v1/sandboxes')), '403 forbidden');
      assert.equal(
        outcome(await send(mint(), '/-/v1/sandboxes/other/resume', { method: 'POST' })),
        '404 sandbox_not_found',
      );
      assert.equal(outcome(await send(mint(), '/-/v1/sandboxes/box/pause', { method: 'POST' })), '403 forbidden');
      assert.equal(outcome(await send(mint(), '/-/v1/sandboxes/box/resume', { method: 'POST' })), '202');
    });
    it('is refused with a header that names a pod', async () => {
      for (const header of ['x-sandbox-pod-ip', 'x-sandbox-uid']) {
        const headers = { 'x-sandbox-id': 'box', [header]: '127.0.0.1' };
        assert.equal(outcome(await send(mint(), '/', { headers })), '403 forbidden', header);
      }
    });
    it('is refused once expired, changed, or signed by another', async () => {
      const other = scopedTokenKey(randomBytes(32).toString('hex') as never as Buffer);
      const foreign = mintScopedToken(other, {
        namespace: 'tenant-a',
        name: 'box',
        expiresAtSeconds: nowSeconds + 600,
      });
      for (const token of [
        mint('box', nowSeconds - 1),
        mint().slice(0, -1),
        mint('box', nowSeconds + 600, 'gone'),
        foreign,
      ])
        assert.equal(outcome(await send(token, '/box/')), '401 unauthenticated');
    });
    it('ends with its secret', async () => {
      writeFileSync(`${secretFile}.new`, randomBytes(48).toString('base64'));
      renameSync(`${secretFile}.new`, secretFile);
      await until('it is refused', async () => outcome(await send(mint(), '/box/')) === '401 unauthenticated');
    });
  });

  describe('a Kubernetes token', () => {
    const make = (plural: string, kind: string, group: string, version = 'v1'): ResourceType => ({
      group,
      version,
      plural,
      kind,
      namespaced: true,
    });
    /** A token as the kubelet projects it. */
    const tokenFor = async (audience: string): Promise<string> => {
      const { status } = (await world.client.create(make('serviceaccounts/agent/token', 'TokenRequest', ''), {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        metadata: { name: 'agent', namespace: 'tenant-a' },
        spec: { audiences: [audience], expirationSeconds: 600 },
      } as never as KubernetesObject)) as never as { status: { token: string } };
      return status.token;
    };

    it('reaches what its rights on sandboxes/proxy name, and nothing else', async () => {
      const rbac = 'rbac.authorization.k8s.io';
      const metadata = { name: 'agent', namespace: 'tenant-a' };
      const create = (type: ResourceType, object: object) =>
        world.client.create(type, object as never as KubernetesObject);
      await create(make('serviceaccounts', 'ServiceAccount', ''), {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata,
      });
      await create(make('roles', 'Role', rbac), {
        apiVersion: `${rbac}/v1`,
        kind: 'Role',
        metadata,
        rules: [
          { apiGroups: ['agents.x-k8s.io'], resources: ['sandboxes/proxy'], resourceNames: ['box'], verbs: ['get'] },
        ],
      });
      await create(make('rolebindings', 'RoleBinding', rbac), {
        apiVersion: `${rbac}/v1`,
        kind: 'RoleBinding',
        metadata,
        roleRef: { apiGroup: rbac, kind: 'Role', name: 'agent' },
        subjects: [{ kind: 'ServiceAccount', name: 'agent', namespace: 'tenant-a' }],
      });
      const token = await tokenFor('sandbox-router');
      await until('the API server knows the role', async () => outcome(await send(token, '/box/')) === '200');
      for (const path of ['/other/', '/nobody/', '/box.tenant-b/'])
        assert.equal(outcome(await send(token, path)), '404 sandbox_not_found', path);
      const { items } = JSON.parse((await send(token, '/-/v1/sandboxes')).body) as { items: { name: string }[] };
      assert.deepEqual(
        items.map(({ name }) => name),
        ['box'],
      );
    });
    it('is refused for another audience, or once it is changed', async () => {
      assert.equal(outcome(await send(await tokenFor('other'), '/box/')), '401 unauthenticated');
      const token = await tokenFor('sandbox-router');
      assert.equal(outcome(await send(`${token.slice(0, -6)}AAAAAA`, '/box/')), '401 unauthenticated');
    });
  });

  it('accepts a key that the issuer has added, once it may ask again', { timeout: 60_000 }, async () => {
    published = [await publish(key, 'one'), await publish(newer, 'two')];
    const token = await jwt({}, { pair: newer, kid: 'two' });
    await until('the key is found', async () => outcome(await send(token, '/box/')) === '200', 45_000);
  });
});
