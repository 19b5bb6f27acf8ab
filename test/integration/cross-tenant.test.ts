import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { Pool } from 'undici';
import {
  type KubernetesObject,
  NAMESPACES,
  type ResourceType,
  SANDBOX_CLAIMS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
} from '../../src/kubernetes/index.ts';
import { mintScopedToken, scopedTokenKey } from '../../src/router/identity/scoped-token.ts';
import { type RawAnswer, type RawRequest, rawRequest } from '../support/raw-request.ts';
import { type ServeProcess, startServe, writeKeys } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause, routerReady } from './world.ts';

const TENANTS = ['red', 'green', 'blue'] as const;
type TenantName = (typeof TENANTS)[number];
const AUTHENTICATORS = ['api-key', 'jwt', 'scoped-token v1', 'scoped-token v2', 'token-review', 'link'] as const;
type AuthenticatorName = (typeof AUTHENTICATORS)[number];

/** What there is in each tenant, beside a name of the same length that is nowhere: answers must be the same to the byte. */
const TARGETS = [
  { what: 'one that runs', there: 'desk', nowhere: 'lamp' },
  { what: 'one that is paused', there: 'sleeper', nowhere: 'drummer' },
] as const;

const FORMS: Record<string, (name: string, namespace: string, host: string) => RawRequest> = {
  path: (name, namespace) => ({ path: `/${name}.${namespace}/?secret=hidden` }),
  'path with port': (name, namespace) => ({ path: `/${name}.${namespace}:8888/` }),
  host: (name, namespace, port) => ({ path: '/', headers: { host: `${name}--${namespace}.localhost:${port}` } }),
  'host with port': (name, namespace, port) => ({
    path: '/',
    headers: { host: `${name}--${namespace}--8888.localhost:${port}` },
  }),
  header: (name, namespace) => ({ path: '/', headers: { 'x-sandbox-id': name, 'x-sandbox-namespace': namespace } }),
  prefix: (name, namespace) => ({ path: `/by-path/${namespace}/${name}/8888/` }),
};
const CONTROL: Record<string, (name: string, namespace: string, host: string) => RawRequest> = {
  get: (name, namespace) => ({ path: `/-/v1/sandboxes/${name}?namespace=${namespace}` }),
  pause: (name, namespace) => ({ method: 'POST', path: `/-/v1/sandboxes/${name}/pause?namespace=${namespace}` }),
  resume: (name, namespace) => ({ method: 'POST', path: `/-/v1/sandboxes/${name}/resume?namespace=${namespace}` }),
  resolve: (name, namespace) => ({ path: `/-/v1/resolve/${name}?namespace=${namespace}` }),
  snapshots: (name, namespace) => ({ path: `/-/v1/sandboxes/${name}/snapshots?namespace=${namespace}` }),
  restore: (name, namespace) => json(`/-/v1/sandboxes/${name}/restore?namespace=${namespace}`, { snapshot: 'x' }),
  explain: (name, namespace, port) => json('/-/v1/explain', { url: `http://localhost:${port}/${name}.${namespace}/` }),
  'a link': (name, namespace) => json('/-/v1/links', { sandbox: name, namespace }),
  'a token': (name, namespace) => json('/-/v1/tokens', { sandbox: name, namespace }),
  'a claim': (name, namespace) => ({ path: `/-/v1/claims/${name}?namespace=${namespace}` }),
  'deleting a claim': (name, namespace) => ({ method: 'DELETE', path: `/-/v1/claims/${name}?namespace=${namespace}` }),
  'extending a claim': (name, namespace) =>
    json(`/-/v1/claims/${name}/extend?namespace=${namespace}`, { lifetime: '1h' }),
};
const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

describe('three tenants in front of one router', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 200_000,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-tenants-'));
  const auditFile = join(directory, 'audit.log');
  const secret = randomBytes(48).toString('base64');
  const tokens = {} as Record<TenantName, Record<AuthenticatorName, string>>;
  const heard = {} as Record<TenantName, { text: string; close(): void }>;
  let world: ClusterWorld;
  let router: ServeProcess;
  let port = '';

  before(async () => {
    world = await clusterWorld();
    const { client } = world;
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const keyFile = join(directory, 'jwks.json');
    writeFileSync(keyFile, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }] }));
    const secretFile = join(directory, 'secret');
    writeFileSync(secretFile, secret);
    const keys = writeKeys(
      directory,
      Object.fromEntries(TENANTS.map((tenant) => [tenant, { tenant }])) as Record<TenantName, { tenant: string }>,
    );
    const configuration = join(directory, 'sandbox-router.yaml');
    const scopes = '[route, wake, manage]';
    writeFileSync(
      configuration,
      `jwt: [{ issuer: "https://id.example.com", audiences: [sandbox-router], algorithms: [ES256], jwksFile: ${keyFile}, scopes: ${scopes} }]
tokenReview: { audiences: [sandbox-router], subjectAccessReview: true, scopes: ${scopes} }
`,
    );
    for (const tenant of TENANTS) {
      await client.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: tenant } });
      await createReady(client, echoSandbox('desk', { namespace: tenant }));
      await createReady(client, echoSandbox('sleeper', { namespace: tenant }));
      await pause(client, 'sleeper', tenant);
      for (const { there } of TARGETS) await client.create<SandboxClaim>(SANDBOX_CLAIMS, claimIn(tenant, there));
      const expiresAtSeconds = Math.floor(Date.now() / 1000) + 3600;
      const minted = (id?: string) =>
        mintScopedToken(scopedTokenKey(Buffer.from(secret), id), { namespace: tenant, name: 'desk', expiresAtSeconds });
      tokens[tenant] = {
        'api-key': keys.tokens[tenant],
        jwt: await new SignJWT({ tenant })
          .setProtectedHeader({ alg: 'ES256', kid: 'one' })
          .setIssuer('https://id.example.com')
          .setAudience('sandbox-router')
          .setSubject('ci')
          .setExpirationTime('1h')
          .sign(privateKey),
        'scoped-token v1': minted(),
        'scoped-token v2': minted('next'),
        'token-review': await serviceAccountToken(world, tenant),
        // Made by the router, below.
        link: '',
      };
    }
    router = await startServe({
      kubeconfig: world.kube.kubeconfigPath,
      keys: keys.path,
      flags: [
        ...['--base-domain', 'localhost', '--path-prefix', '/by-path', '--egress-verify', 'off'],
        ...['--config', configuration, '--scoped-token-keys', `${secretFile},next=${secretFile}`],
        ...['--link-keys', `one=${secretFile}`],
        ...['--audit-log', auditFile, '--shutdown-delay', '0s'],
      ],
    });
    await routerReady(router);
    ({ port } = new URL(router.url));
    for (const tenant of TENANTS) {
      const { status, body } = await send(tenant, 'api-key', json('/-/v1/links', { sandbox: 'desk' }));
      assert.equal(status, 201, body);
      tokens[tenant].link = (JSON.parse(body) as { path: string }).path.slice('/-/link/'.length);
    }
    for (const tenant of TENANTS) heard[tenant] = await listen(router.url, tokens[tenant]['api-key']);
    await until('the API server knows the roles', async () =>
      (await Promise.all(TENANTS.map((tenant) => send(tenant, 'token-review', { path: `/desk.${tenant}/` })))).every(
        ({ status }) => status === 200,
      ),
    );
  });
  after(async () => {
    for (const { close } of Object.values(heard)) close();
    await router?.stop('SIGKILL');
    await world?.close();
    rmSync(directory, { recursive: true });
  });

  const send = (tenant: TenantName, authenticator: AuthenticatorName, request: RawRequest, headers = {}) =>
    rawRequest(router.url, {
      ...request,
      headers: { authorization: `Bearer ${tokens[tenant][authenticator]}`, ...request.headers, ...headers },
    });
  /** How often each tenant's box was reached by its own, so that a foreign request would be noticed. */
  const countOf = async (tenant: TenantName) =>
    (JSON.parse((await send(tenant, 'api-key', { path: '/desk/' })).body) as { n: number }).n;

  it('lets everybody reach their own, by every form and every authenticator', async () => {
    for (const tenant of TENANTS)
      for (const authenticator of AUTHENTICATORS)
        for (const [form, request] of Object.entries(FORMS)) {
          const answer = await send(tenant, authenticator, request('desk', tenant, port));
          assert.equal(answer.status, 200, `${tenant} ${authenticator} ${form}: ${answer.body}`);
        }
  });

  for (const authenticator of AUTHENTICATORS)
    describe(`with ${authenticator}`, () => {
      /** Sends the same for what is there and for what is nowhere, and wants the same answer: a refusal. */
      async function sameRefusal(
        caller: TenantName,
        what: string,
        request: (name: string, namespace: string, port: string) => RawRequest,
        headers: Record<string, string> = {},
      ): Promise<void> {
        for (const owner of TENANTS) {
          if (owner === caller) continue;
          for (const target of TARGETS) {
            const foreign = await send(caller, authenticator, request(target.there, owner, port), headers);
            const none = await send(caller, authenticator, request(target.nowhere, owner, port), headers);
            const where = `${caller} asks for ${target.what} of ${owner}: ${what}`;
            const explained = foreign.status === 200 && foreign.body.includes('"allowed":false');
            assert.ok(explained || [403, 404].includes(foreign.status), `${where}: ${foreign.status} ${foreign.body}`);
            assert.deepEqual(essence(foreign, target.there), essence(none, target.nowhere), where);
          }
        }
      }

      for (const [form, request] of Object.entries(FORMS)) {
        it(`no foreign sandbox is told from none by HTTP: ${form}`, async () => {
          for (const caller of TENANTS) await sameRefusal(caller, form, request);
        });
        it(`no foreign sandbox is told from none by WebSocket: ${form}`, async () => {
          for (const caller of TENANTS) await sameRefusal(caller, form, request, UPGRADE);
        });
      }
      it('no foreign sandbox or claim is told from none by the control API', async () => {
        for (const caller of TENANTS)
          for (const [what, request] of Object.entries(CONTROL)) await sameRefusal(caller, what, request);
      });
      it('nothing foreign is listed', async () => {
        for (const caller of TENANTS)
          for (const path of ['/-/v1/sandboxes', '/-/v1/claims'])
            for (const query of ['', ...TENANTS.map((owner) => `?namespace=${owner}`)]) {
              const { status, body } = await send(caller, authenticator, { path: path + query });
              if (status === 403) continue;
              const { items } = JSON.parse(body) as { items: { namespace: string }[] };
              assert.deepEqual(
                [...new Set(items.map(({ namespace }) => namespace))].filter((name) => name !== caller),
                [],
              );
            }
      });
      it('events tell of nothing foreign', async () => {
        for (const caller of TENANTS)
          for (const owner of TENANTS) {
            if (owner === caller) continue;
            const request = { path: `/-/v1/events?namespace=${owner}`, headers: UPGRADE };
            // Refused without the scope; with it, the streams are judged by what they tell, below.
            if (authenticator.startsWith('scoped') || authenticator === 'link')
              assert.equal((await send(caller, authenticator, request)).status, 403);
          }
      });
    });

  it('takes as long for a foreign sandbox as for none', async () => {
    const pool = new Pool(router.url, { connections: 1 });
    const headers = { authorization: `Bearer ${tokens.red['api-key']}` };
    const time = async (path: string) => {
      const startedMs = performance.now();
      const { body } = await pool.request({ path, method: 'GET', headers });
      await body.dump();
      return performance.now() - startedMs;
    };
    try {
      for (const { there, nowhere, what } of TARGETS) {
        const paths = [`/${there}.green/`, `/${nowhere}.green/`] as const;
        for (let index = 0; index < 50; index++) await time(paths[index % 2] as string);
        let slower = 0;
        const rounds = 400;
        for (let index = 0; index < rounds; index++) {
          // In turns first, so that a drift of the machine favours neither.
          const [first, second] = index % 2 === 0 ? paths : ([paths[1], paths[0]] as const);
          const [one, two] = [await time(first), await time(second)];
          if (index % 2 === 0 ? one > two : two > one) slower++;
        }
        // Of equals each is the slower half of the time, give or take 2.5 %.
        const share = slower / rounds;
        assert.ok(share > 0.3 && share < 0.7, `${what}: slower in ${share * 100} % of pairs`);
      }
    } finally {
      await pool.close();
    }
  });

  it('nobody was reached, woken, paused or deleted by another', async () => {
    const before = await Promise.all(TENANTS.map(countOf));
    await send('red', 'api-key', { path: '/desk.green/' });
    await send('blue', 'jwt', { path: '/desk.green/' });
    assert.deepEqual(
      await Promise.all(TENANTS.map(countOf)),
      before.map((count) => count + 1),
    );
    for (const tenant of TENANTS) {
      const { spec } = await world.client.get<Sandbox>(SANDBOXES, { namespace: tenant, name: 'sleeper' });
      assert.equal(spec.operatingMode, 'Suspended', `${tenant} sleeps on`);
      for (const { there } of TARGETS)
        assert.ok(await world.client.get(SANDBOX_CLAIMS, { namespace: tenant, name: there }));
    }
  });

  it('events went to their own tenant alone', async () => {
    for (const tenant of TENANTS) await createReady(world.client, echoSandbox(`of-${tenant}`, { namespace: tenant }));
    for (const tenant of TENANTS) {
      await until(`${tenant} hears`, () => heard[tenant].text.includes(`"sandbox":"of-${tenant}","state":"running"`));
      for (const other of TENANTS)
        if (other !== tenant) assert.doesNotMatch(heard[tenant].text, new RegExp(`"${other}"`));
    }
  });

  it('the audit log tells who asked for what, and keeps their secrets', async () => {
    const lines = await until('it is written', () => {
      const all = readFileSync(auditFile, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
      return all.some(({ action }) => action === 'refused') && all;
    });
    const refused = lines.find(
      (line) =>
        line.action === 'refused' && line.tenant === 'red' && line.namespace === 'green' && line.sandbox === 'desk',
    );
    assert.equal(refused?.credential, 'red');
    assert.match(refused?.code, /sandbox_not_found/);
    assert.ok(lines.some((line) => line.action === 'reached' && line.tenant === 'green' && line.sandbox === 'desk'));
    const text = readFileSync(auditFile, 'utf8');
    for (const token of Object.values(tokens).flatMap((each) => Object.values(each))) assert.ok(!text.includes(token));
    assert.doesNotMatch(text, /hidden|secret=|Bearer [A-Za-z0-9]/);
  });
});

function json(path: string, body: object): RawRequest {
  return { method: 'POST', path, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

/** What can be told from an answer, without what is different each time and the name that was asked for. */
function essence({ status, headers, body }: RawAnswer, name: string) {
  const { date: _date, 'x-request-id': _id, ...rest } = Object.fromEntries(headers);
  return { status, headers: rest, body: body.replace(/"requestId":"[^"]*"/, '').replaceAll(name, '<name>') };
}

/** A claim that nobody answers: no controller of claims runs here. */
function claimIn(namespace: string, name: string): SandboxClaim {
  return {
    apiVersion: 'extensions.agents.x-k8s.io/v1beta1',
    kind: 'SandboxClaim',
    metadata: { namespace, name },
    spec: { warmPoolRef: { name: 'pool' } },
  };
}

async function listen(url: string, token: string): Promise<{ text: string; close(): void }> {
  const closing = new AbortController();
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(`${url}/-/v1/events`, { headers, signal: closing.signal });
  const heard = { text: '', close: () => closing.abort() };
  const reading = (async () => {
    for await (const chunk of answer.body ?? []) heard.text += Buffer.from(chunk as Uint8Array).toString();
  })();
  reading.catch(() => {});
  return heard;
}

/** Token of a ServiceAccount that may reach every sandbox of its namespace. */
async function serviceAccountToken({ client }: ClusterWorld, namespace: string): Promise<string> {
  const rbac = 'rbac.authorization.k8s.io';
  const make = (plural: string, kind: string, group: string): ResourceType => ({
    group,
    version: 'v1',
    plural,
    kind,
    namespaced: true,
  });
  const create = (type: ResourceType, object: object) => client.create(type, object as never as KubernetesObject);
  const metadata = { name: 'agent', namespace };
  await create(make('serviceaccounts', 'ServiceAccount', ''), { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
  await create(make('roles', 'Role', rbac), {
    apiVersion: `${rbac}/v1`,
    kind: 'Role',
    metadata,
    rules: [{ apiGroups: ['agents.x-k8s.io'], resources: ['sandboxes/proxy'], verbs: ['get'] }],
  });
  await create(make('rolebindings', 'RoleBinding', rbac), {
    apiVersion: `${rbac}/v1`,
    kind: 'RoleBinding',
    metadata,
    roleRef: { apiGroup: rbac, kind: 'Role', name: 'agent' },
    subjects: [{ kind: 'ServiceAccount', name: 'agent', namespace }],
  });
  const { status } = (await create(make('serviceaccounts/agent/token', 'TokenRequest', ''), {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    metadata,
    spec: { audiences: ['sandbox-router'], expirationSeconds: 3600 },
  })) as never as { status: { token: string } };
  return status.token;
}
