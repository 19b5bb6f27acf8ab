import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  NAMESPACES,
  NETWORK_POLICIES,
  type NetworkPolicy,
  RUNTIME_CLASSES,
  type RuntimeClass,
  SANDBOXES,
} from '../../src/kubernetes/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { type RawAnswer, rawRequest } from '../support/raw-request.ts';
import type { ServeProcess } from '../support/serve.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { type ClusterWorld, clusterWorld, createReady, echoSandbox, pause, routerReady } from './world.ts';

const CONFIGURATION = `
egress: { verify: enforce }
tenants:
  default: { namespaces: "*" }
  tenant-a:
    egressClasses: [none]
    runtimeClasses: [gvisor, kata]
  tenant-b: {}
`;

describe('who may reach what, on a real API server', {
  skip: missingTool('etcd', 'kube-apiserver'),
  timeout: 200_000,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-identity-'));
  const file = join(directory, 'sandbox-router.yaml');
  let world: ClusterWorld;
  let router: ServeProcess;

  before(async () => {
    world = await clusterWorld();
    for (const name of ['tenant-a', 'tenant-b'])
      await world.client.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    for (const name of ['runc', 'kata'])
      await world.client.create(RUNTIME_CLASSES, {
        apiVersion: 'node.k8s.io/v1',
        kind: 'RuntimeClass',
        metadata: { name },
        handler: name,
      } as RuntimeClass);
    await Promise.all([
      createReady(world.client, sandboxOf('tenant-a', 'box')),
      createReady(world.client, sandboxOf('tenant-b', 'box')),
      createReady(world.client, sandboxOf('tenant-a', 'unlabelled', { label: undefined })),
      createReady(world.client, sandboxOf('tenant-a', 'online', { label: 'internet' })),
      createReady(world.client, sandboxOf('tenant-a', 'plain', { runtimeClassName: 'runc' })),
      createReady(world.client, sandboxOf('tenant-a', 'vm', { runtimeClassName: 'kata' })),
      createReady(world.client, sandboxOf('tenant-b', 'vm', { runtimeClassName: 'kata' })),
      createReady(world.client, sandboxOf('tenant-b', 'open', { label: 'internet' })),
    ]);
    for (const namespace of ['tenant-a', 'tenant-b']) await world.client.create(NETWORK_POLICIES, denial(namespace));
    writeFileSync(file, CONFIGURATION);
    router = await world.anotherRouter(['--config', file]);
    await routerReady(router);
  });
  after(async () => {
    await router?.stop('SIGKILL');
    await world?.close();
    rmSync(directory, { recursive: true });
  });

  const send = (token: string, path: string, more: { method?: string } = {}): Promise<RawAnswer> =>
    rawRequest(router.url, { path, headers: { authorization: `Bearer ${token}` }, ...more });
  const outcome = ({ status, body }: RawAnswer) =>
    status < 400 ? `${status}` : `${status} ${(JSON.parse(body) as { code: string }).code}`;
  /** Replaces the configuration as careful operators do, and waits until its refusal is as wanted. */
  const configure = async (text: string, refused: boolean): Promise<string> => {
    // A refusal that ends tells that the good file is in force.
    if (!refused) await configure('tenants: 1', true);
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
    return until('the file was looked at', async () => {
      const body = (await (await fetch(`${router.adminUrl}/readyz`)).json()) as { configurationRefusal?: string };
      return (body.configurationRefusal !== undefined) === refused ? (body.configurationRefusal ?? 'none') : undefined;
    });
  };

  const matrix: [who: 'a' | 'b', path: string, expected: string][] = [
    ['a', '/box/', '200'],
    ['b', '/box/', '200'],
    ['a', '/box.tenant-b/', '404 sandbox_not_found'],
    ['b', '/box.tenant-a/', '404 sandbox_not_found'],
    ['b', '/unlabelled.tenant-a/', '404 sandbox_not_found'],
    ['b', '/plain.tenant-a/', '404 sandbox_not_found'],
    ['b', '/nobody.tenant-a/', '404 sandbox_not_found'],
    ['a', '/unlabelled/', '403 egress_unlabelled'],
    ['a', '/online/', '403 egress_forbidden'],
    ['a', '/plain/', '403 runtime_forbidden'],
    ['a', '/vm/', '200'],
    ['b', '/vm/', '403 runtime_forbidden'],
    ['b', '/open/', '503 egress_unenforced'],
  ];
  for (const [who, path, expected] of matrix)
    it(`tenant ${who}: ${path} → ${expected}`, async () => {
      const token = world.tenantTokens[who];
      const answer = await until('the policies are known', async () => {
        const found = await send(token, path);
        return outcome(found) === expected || !outcome(found).includes('unenforced') ? found : undefined;
      });
      assert.equal(outcome(answer), expected, answer.body);
      if (answer.status === 503) assert.ok(Number(answer.headers.get('retry-after')?.[0]) >= 1);
    });

  it('explains where a request would end, and tells no more of foreign sandboxes than they do', async () => {
    const ask = async (asker: string, body: object): Promise<string> => {
      const headers = { authorization: `Bearer ${asker}`, 'content-type': 'application/json' };
      const options = { method: 'POST', path: '/-/v1/explain', headers, body: JSON.stringify(body) };
      const answer = await rawRequest(router.url, options);
      if (answer.status !== 200) return outcome(answer);
      const { allowed, steps } = JSON.parse(answer.body) as {
        allowed: boolean;
        steps: { step: string; code?: string }[];
      };
      return `${allowed} ${steps.at(-1)?.step} ${steps.at(-1)?.code ?? ''}`.trim();
    };
    const { a, b } = world.tenantTokens;
    assert.equal(await ask(a, { url: `${router.url}/box/x` }), 'true wake');
    assert.equal(await ask(a, { url: `${router.url}/online/` }), 'false classes egress_forbidden');
    assert.equal(await ask(b, { url: 'http://open.localhost:1/' }), 'false classes egress_unenforced');
    assert.equal(await ask(b, { url: `${router.url}/box.tenant-a/`, token: a }), 'false sandbox sandbox_not_found');
    assert.equal(await ask(world.token, { url: `${router.url}/box/`, token: a }), 'true wake');
    assert.equal(await ask(a, { url: `${router.url}/box/`, token: 'wrong' }), 'false identity unauthenticated');
    assert.equal(await ask(a, { url: `${router.url}/Box/` }), 'false address bad_address');
    assert.equal(await ask(a, { url: 'nothing' }), '400 bad_request');
    const tokenFile = join(directory, 'token');
    writeFileSync(tokenFile, a);
    const command = [join(projectRoot, 'src/cli/main.ts'), 'explain', '--token', tokenFile];
    const run = (path: string) => spawnSync(process.execPath, [...command, router.url + path], { encoding: 'utf8' });
    assert.match(run('/box/').stdout, /^ok +wake +It runs\.$/m);
    const refused = run('/plain/');
    assert.match(refused.stdout, /^STOP +classes +runtime_forbidden: /m);
    assert.equal(refused.status, 1);
  });

  it('tells nothing of a foreign sandbox: its answer is that of one that does not exist', async () => {
    const bare = ({ status, body }: RawAnswer) =>
      `${status} ${body.replace(/"requestId":"[^"]*"/, '').replaceAll('nobody', 'box')}`;
    const token = world.tenantTokens.b;
    assert.equal(bare(await send(token, '/box.tenant-a/')), bare(await send(token, '/nobody.tenant-a/')));
    const control = (name: string) => send(token, `/-/v1/sandboxes/${name}?namespace=tenant-a`);
    assert.equal(bare(await control('box')), bare(await control('nobody')));
    const listed = JSON.parse((await send(token, '/-/v1/sandboxes')).body) as { items: { namespace: string }[] };
    assert.deepEqual([...new Set(listed.items.map(({ namespace }) => namespace))], ['tenant-b']);
  });

  it('neither wakes nor resumes what it would not be let to', async () => {
    await pause(world.client, 'online', 'tenant-a');
    const { a, b } = world.tenantTokens;
    assert.equal(outcome(await send(a, '/online/')), '403 egress_forbidden');
    const resume = '/-/v1/sandboxes/online/resume?namespace=tenant-a';
    assert.equal(outcome(await send(a, resume, { method: 'POST' })), '403 egress_forbidden');
    assert.equal(outcome(await send(b, resume, { method: 'POST' })), '404 sandbox_not_found');
    const { spec } = (await world.client.get(SANDBOXES, { namespace: 'tenant-a', name: 'online' })) as never as {
      spec: { operatingMode: string };
    };
    assert.equal(spec.operatingMode, 'Suspended');
  });

  it('lets a class in within a second of a policy that holds it, and out again when one allows more', async () => {
    const token = world.tenantTokens.b;
    const open = async (path: string, expected: string) => {
      const startedMs = performance.now();
      await until(`${path} is ${expected}`, async () => outcome(await send(token, path)) === expected);
      return performance.now() - startedMs;
    };
    await world.client.create(NETWORK_POLICIES, internet('tenant-b', ['10.0.0.0/8']));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const answer = await send(token, '/open/');
    assert.equal(outcome(answer), '503 egress_unenforced');
    assert.match(answer.body, /internet-policy, egress rule 1: it allows 0\.0\.0\.0\/0 without the exception/);
    const key = { namespace: 'tenant-b', name: 'internet-policy' };
    const all = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16'];
    const { spec } = internet('tenant-b', all);
    await world.client.patch(NETWORK_POLICIES, key, { spec }, { type: 'merge' });
    assert.ok((await open('/open/', '200')) < 1000);
    const metrics = await (await fetch(`${router.adminUrl}/metrics`)).text();
    assert.match(metrics, /sandbox_router_unenforced_pods \d/);
    await world.client.delete(NETWORK_POLICIES, key);
    assert.ok((await open('/open/', '503 egress_unenforced')) < 1000);
  });

  it('keeps a class of no policy out, and lets it in within a second of the right one: one that allows more does not count', async () => {
    const token = world.tenantTokens.b;
    const key = { namespace: 'tenant-b', name: 'none-policy' };
    const becomes = async (expected: string, act: () => Promise<unknown>) => {
      const startedMs = performance.now();
      await act();
      const answer = await until(`it is ${expected}`, async () => {
        const found = await send(token, '/box/');
        return outcome(found) === expected ? found : undefined;
      });
      return { answer, tookMs: performance.now() - startedMs };
    };
    const { answer } = await becomes('503 egress_unenforced', () => world.client.delete(NETWORK_POLICIES, key));
    assert.match(answer.body, /no NetworkPolicy/i);
    // DNS is a way out: the class "none" promises that there is none.
    const dns = [{ ports: [{ protocol: 'UDP' as const, port: 53 }] }];
    await world.client.create(NETWORK_POLICIES, policy('tenant-b', 'none-policy', 'none', dns));
    await until('the policy is known', async () => (await send(token, '/box/')).body.includes('none-policy'));
    assert.equal(outcome(await send(token, '/box/')), '503 egress_unenforced');
    const { tookMs } = await becomes('200', () =>
      world.client.patch(NETWORK_POLICIES, key, { spec: { egress: null } }, { type: 'merge' }),
    );
    assert.ok(tookMs < 1000, `${tookMs} ms`);
    // What one policy forbids another can allow: they add up.
    const more = policy('tenant-b', 'more', 'none', [{ to: [{ ipBlock: { cidr: '203.0.113.7/32' } }] }]);
    await becomes('503 egress_unenforced', () => world.client.create(NETWORK_POLICIES, more));
    await becomes('200', () => world.client.delete(NETWORK_POLICIES, { ...key, name: 'more' }));
  });

  it('refuses a bad file whole, says so, and takes a good one while it runs', async () => {
    const token = world.tenantTokens.a;
    const refusal = await configure(CONFIGURATION.replace('tenant-b: {}', 'tenant-b: { namespace: [x] }'), true);
    assert.match(refusal, /tenants\.tenant-b: unknown key "namespace"\. Did you mean "namespaces"/);
    assert.match(await (await fetch(`${router.adminUrl}/metrics`)).text(), /configuration_refused 1/);
    assert.equal(outcome(await send(token, '/online/')), '403 egress_forbidden');
    assert.match(
      await configure('tenants: { tenant-a: { namespaces: [x] }, tenant-b: { namespaces: [x] } }', true),
      /x/,
    );
    await configure(CONFIGURATION.replace('[none]', '[none, internet]'), false);
    await until('the class is allowed', async () => outcome(await send(token, '/online/')).startsWith('503'));
  });

  it('names what a changed file leaves for the next start', async () => {
    const waiting = async () =>
      ((await (await fetch(`${router.adminUrl}/readyz`)).json()) as { restartNeededFor: string[] }).restartNeededFor;
    assert.deepEqual(await waiting(), []);
    await configure(`${CONFIGURATION}\nheldTotal: 7\ntokenReview: { audiences: [x] }\n`, false);
    assert.deepEqual((await waiting()).sort(), ['heldTotal', 'tokenReview']);
    assert.match(
      await configure(CONFIGURATION.replace('verify: enforce', 'verify: off'), true),
      /only be turned on or off by a restart/,
    );
    await configure(CONFIGURATION, false);
    assert.deepEqual(await waiting(), []);
  });

  it('holds a tenant to its limits, and tells when to come again', async () => {
    const limits = 'limits: { requestsPerSecond: 0.5, burst: 3 }';
    await configure(CONFIGURATION.replace('tenant-b: {}', `tenant-b: { ${limits} }`), false);
    const token = world.tenantTokens.b;
    const limited = await until('it is too much', async () => {
      const answer = await send(token, '/box/');
      return answer.status === 429 ? answer : undefined;
    });
    assert.equal(outcome(limited), '429 rate_limited');
    const waitSeconds = Number(limited.headers.get('retry-after')?.[0]);
    assert.ok(waitSeconds >= 1 && waitSeconds <= 2, String(waitSeconds));
    assert.equal(outcome(await send(world.tenantTokens.a, '/box/')), '200', 'others go on');
    await new Promise((resolve) => setTimeout(resolve, waitSeconds * 1000));
    assert.equal(outcome(await send(token, '/box/')), '200');
  });

  it('bounds wakes and sandboxes awake', async () => {
    const a = world.tenantTokens.a;
    await pause(world.client, 'box', 'tenant-a');
    await configure(CONFIGURATION.replace('egressClasses: [none]', 'limits: { awake: 5 }'), false);
    // unlabelled, online, plain and vm run; box is paused.
    await createReady(world.client, sandboxOf('tenant-a', 'fourth'));
    await until('too many are awake', async () => outcome(await send(a, '/box/')) === '429 too_many_awake');
    await pause(world.client, 'fourth', 'tenant-a');
    await until('there is room', async () => outcome(await send(a, '/box/')) === '200');
    assert.equal(outcome(await send(a, '/fourth/')), '429 too_many_awake');
    await configure(CONFIGURATION.replace('egressClasses: [none]', 'limits: { wakesPerMinute: 1 }'), false);
    await until('it wakes', async () => outcome(await send(a, '/fourth/')) === '200');
    await pause(world.client, 'fourth', 'tenant-a');
    const late = await until('waking again is too much', async () => {
      const answer = await send(a, '/fourth/');
      return answer.status === 429 ? answer : undefined;
    });
    assert.equal(outcome(late), '429 rate_limited');
    assert.ok(Number(late.headers.get('retry-after')?.[0]) > 30);
  });

  it('refuses credentials that come twice, everywhere', async () => {
    const doubled = { authorization: [`Bearer ${world.token}`, 'Bearer other'] };
    for (const path of ['/box.tenant-a/', '/-/v1/sandboxes']) {
      const answer = await rawRequest(router.url, { path, headers: doubled });
      assert.equal(outcome(answer), '400 bad_header', path);
    }
  });
});

function sandboxOf(
  namespace: string,
  name: string,
  { label = 'none', ...more }: { label?: string | undefined; runtimeClassName?: string } = { label: 'none' },
) {
  const sandbox = echoSandbox(name, { namespace });
  const { podTemplate } = sandbox.spec;
  return {
    ...sandbox,
    spec: {
      podTemplate: {
        metadata: name === 'unlabelled' ? {} : { labels: { 'sandbox-router/egress': label } },
        spec: { ...podTemplate.spec, ...more },
      },
    },
  };
}

function denial(namespace: string): NetworkPolicy {
  return policy(namespace, 'none-policy', 'none', []);
}

function internet(namespace: string, except: string[]): NetworkPolicy {
  return policy(namespace, 'internet-policy', 'internet', [{ to: [{ ipBlock: { cidr: '0.0.0.0/0', except } }] }]);
}

function policy(
  namespace: string,
  name: string,
  egressClass: string,
  egress: NonNullable<NetworkPolicy['spec']['egress']>,
): NetworkPolicy {
  const podSelector = { matchLabels: { 'sandbox-router/egress': egressClass } };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace },
    spec: { podSelector, policyTypes: ['Egress'], egress },
  };
}
