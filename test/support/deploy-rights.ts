import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { REPLICA_LEASE_PREFIX, REPLICA_SLOTS } from '../../src/kubernetes/index.ts';
import { type ClusterSession, deployDirectory, helmTemplate, kustomize } from './deploy-tools.ts';
import { startServe, writeKeys } from './serve.ts';
import { until } from './until.ts';

const NAMESPACE = 'agent-sandbox-system';
const ROUTER = `system:serviceaccount:${NAMESPACE}:sandbox-router`;

const patchMode = (mode: string) => JSON.stringify({ spec: { operatingMode: mode } });
const patchAsRouter = (patch: string, name = 'notebook') =>
  ['patch', 'sandbox', name, '-n', 'tenant-a', '--type=merge', '-p', patch, '--as', ROUTER] as const;

/** What the router's service account may and may not do under each way of installing it; the examples' tenant is there. */
export function testRights(session: () => ClusterSession): void {
  const READ = [
    'get list watch agents.x-k8s.io/sandboxes',
    'get list watch /pods',
    'list watch networking.k8s.io/networkpolicies',
    'list watch /namespaces',
  ];
  const WAKE = ['patch agents.x-k8s.io/sandboxes', 'create list patch watch /events', 'list metrics.k8s.io/pods'];
  const SNAPSHOTS = [
    'get list watch podsnapshot.gke.io/podsnapshots',
    'create delete get list watch podsnapshot.gke.io/podsnapshotmanualtriggers',
  ];
  const REVIEWS = ['create authentication.k8s.io/tokenreviews', 'create authorization.k8s.io/subjectaccessreviews'];
  const CLAIMS = [
    'create delete get list patch watch extensions.agents.x-k8s.io/sandboxclaims',
    'get list extensions.agents.x-k8s.io/sandboxwarmpools',
  ];
  const slots = Array.from({ length: REPLICA_SLOTS }, (_, slot) => `${REPLICA_LEASE_PREFIX}${slot}`).join(' ');
  const LEASES = [
    'create list coordination.k8s.io/leases',
    `get update coordination.k8s.io/leases sandbox-router-idle ${slots}`,
  ];

  /** Every right that the router has in a namespace beyond what any account has. */
  async function rightsIn(namespace: string): Promise<string[]> {
    const review = JSON.stringify({
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectRulesReview',
      spec: { namespace },
    });
    const of = async (account: string) => {
      const answer = await session().must(
        ['create', '--validate=false', '-f', '-', '-o', 'json', '--as', account],
        review,
      );
      const { resourceRules } = JSON.parse(answer).status as { resourceRules: Rule[] };
      return resourceRules.map(describeRule);
    };
    const everybody = await of(`system:serviceaccount:${NAMESPACE}:nobody`);
    return [...new Set(await of(ROUTER))].filter((rule) => !everybody.includes(rule)).sort();
  }

  async function install(text: string): Promise<void> {
    await session().must([
      'delete',
      'clusterrole,clusterrolebinding',
      '-l',
      'app.kubernetes.io/part-of=agent-sandbox',
      '--ignore-not-found',
    ]);
    await session().must(['delete', 'role,rolebinding', '-A', '-l', 'app.kubernetes.io/part-of=agent-sandbox']);
    await session().must(['delete', 'validatingadmissionpolicy,validatingadmissionpolicybinding', '--all']);
    await session().apply(text);
  }

  for (const [name, render, here, there] of [
    ['base', () => kustomize('kustomize/base'), [...READ, ...WAKE, ...LEASES], [...READ, ...WAKE]],
    ['read-only', () => kustomize('kustomize/overlays/read-only'), READ, READ],
    [
      'gke',
      () => kustomize('kustomize/overlays/gke'),
      [...READ, ...WAKE, ...LEASES, ...SNAPSHOTS],
      [...READ, ...WAKE, ...SNAPSHOTS],
    ],
    [
      'token-review',
      () => kustomize('kustomize/overlays/token-review'),
      [...READ, ...WAKE, ...LEASES, ...REVIEWS],
      [...READ, ...WAKE, ...REVIEWS],
    ],
    [
      'claims',
      () => kustomize('kustomize/overlays/claims'),
      [...READ, ...WAKE, ...LEASES, ...CLAIMS],
      [...READ, ...WAKE, ...CLAIMS],
    ],
    [
      'chart without wake and pause',
      async () => (await helmTemplate(['wake.enabled=false', 'pause.enabled=false'])).stdout,
      READ,
      READ,
    ],
  ] as const)
    test(`${name}: exactly these`, async () => {
      await install(await render());
      assert.deepEqual(await rightsIn(NAMESPACE), [...here].sort());
      assert.deepEqual(await rightsIn('tenant-a'), [...there].sort());
    });

  test('chart for some namespaces: nothing elsewhere', async () => {
    await install((await helmTemplate(['namespaces={tenant-a}'])).stdout);
    assert.deepEqual(await rightsIn('tenant-a'), [...READ, ...WAKE].sort());
    assert.deepEqual(await rightsIn('kube-system'), []);
    assert.deepEqual(await rightsIn(NAMESPACE), LEASES);
  });

  test('kubectl auth can-i agrees, without wake', async () => {
    await install(await kustomize('kustomize/overlays/read-only'));
    const can = async (...question: string[]) =>
      (await session().kubectl(['auth', 'can-i', ...question, '--as', ROUTER, '-n', 'tenant-a'])).stdout.trim();
    assert.equal(await can('watch', 'sandboxes.agents.x-k8s.io'), 'yes');
    assert.equal(await can('patch', 'sandboxes.agents.x-k8s.io'), 'no');
    assert.equal(await can('get', 'secrets'), 'no');
    assert.equal(await can('create', 'pods/exec'), 'no');
    assert.equal(await can('delete', 'sandboxes.agents.x-k8s.io'), 'no');
  });

  test('without wake the API server refuses a wake; with it a wake goes through', async () => {
    await session().apply(readFileSync(join(deployDirectory, 'examples/sandbox.yaml'), 'utf8'));
    await install(await kustomize('kustomize/overlays/read-only'));
    await session().refused(patchAsRouter(patchMode('Suspended')), /forbidden/i);
    await install(await kustomize('kustomize/base'));
    await session().must(patchAsRouter(patchMode('Suspended')));
    await session().must(patchAsRouter(patchMode('Running')));
  });

  test('wake-only: starts sandboxes, never pauses one', async () => {
    await session().apply(readFileSync(join(deployDirectory, 'examples/sandbox-paused.yaml'), 'utf8'));
    await install(await kustomize('kustomize/overlays/wake-only'));
    await eventuallyRefused(patchAsRouter(patchMode('Suspended')), /not pause/);
    await session().must(patchAsRouter(patchMode('Running'), 'report'));
    await session().must(patchAsRouter(patchMode('Running')));
    // Only the router is held to it.
    await session().must([
      'patch',
      'sandbox',
      'notebook',
      '-n',
      'tenant-a',
      '--type=merge',
      '-p',
      patchMode('Suspended'),
    ]);
  });

  test('chart with pause only: pauses, never starts one', async () => {
    await install((await helmTemplate(['wake.enabled=false'])).stdout);
    await eventuallyRefused(patchAsRouter(patchMode('Running')), /not start/);
    await session().must(patchAsRouter(patchMode('Suspended'), 'report'));
  });

  test('patch guard: operatingMode and own annotations, nothing else', async () => {
    await install(await kustomize('kustomize/overlays/hardened'));
    const image = { spec: { podTemplate: { spec: { runtimeClassName: null } } } };
    await eventuallyRefused(patchAsRouter(JSON.stringify(image)), /nothing of spec but operatingMode/);
    for (const [patch, why] of [
      [{ spec: { shutdownTime: '2030-01-01T00:00:00Z' } }, /nothing of spec/],
      [{ metadata: { labels: { 'sandbox-router/egress': 'internet' } } }, /neither labels/],
      [{ metadata: { finalizers: ['example.com/mine'] } }, /finalizers/],
      [{ metadata: { annotations: { 'agents.x-k8s.io/pod-name': 'other' } } }, /only annotations below/],
    ] as const)
      await session().refused(patchAsRouter(JSON.stringify(patch)), why);
    await session().must(patchAsRouter(patchMode('Running')));
    await session().must(patchAsRouter(JSON.stringify({ metadata: { annotations: { 'sandbox-router/note': 'x' } } })));
    await session().must(patchAsRouter(JSON.stringify({ metadata: { annotations: { 'sandbox-router/note': null } } })));
  });

  /** Starts `serve` as the ServiceAccount of the router; asks for a paused sandbox, and hands over what came of it. */
  async function wakeAsRouter(flags: string[] = []): Promise<{ code: string; mode: string; output: string }> {
    await session().apply(readFileSync(join(deployDirectory, 'examples/sandbox-paused.yaml'), 'utf8'));
    await session().must([
      'patch',
      'sandbox',
      'report',
      '-n',
      'tenant-a',
      '--type=merge',
      '-p',
      patchMode('Suspended'),
    ]);
    const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-rights-'));
    const config = JSON.parse(await session().must(['config', 'view', '--raw', '-o', 'json']));
    config.users[0].user = {
      token: (await session().must(['create', 'token', 'sandbox-router', '-n', NAMESPACE])).trim(),
    };
    const kubeconfig = join(directory, 'kubeconfig');
    writeFileSync(kubeconfig, JSON.stringify(config), { mode: 0o600 });
    const keys = writeKeys(directory, { caller: { tenant: 'tenant-a' } });
    const router = await startServe({ kubeconfig, keys: keys.path, flags: [...flags, '--shutdown-delay', '0s'] });
    try {
      await until('the router is ready', async () => (await fetch(`${router.adminUrl}/readyz`)).ok);
      const headers = { authorization: `Bearer ${keys.tokens.caller}`, 'x-sandbox-timeout': '1' };
      const { code } = (await (await fetch(`${router.url}/report/`, { headers })).json()) as { code: string };
      const mode = ['get', 'sandbox', 'report', '-n', 'tenant-a', '-o', 'jsonpath={.spec.operatingMode}'];
      return { code, mode: await session().must(mode), output: router.output() };
    } finally {
      await router.stop();
      rmSync(directory, { recursive: true, force: true });
    }
  }

  test('a router with the rights of the base becomes ready and wakes', async () => {
    await install(await kustomize('kustomize/base'));
    const { code, mode, output } = await wakeAsRouter();
    assert.deepEqual({ code, mode }, { code: 'waking', mode: 'Running' }, output);
    assert.doesNotMatch(output, /forbidden/i);
  });

  test('a router that may only read becomes ready and says why it does not wake', async () => {
    await install(await kustomize('kustomize/overlays/read-only'));
    const { code, mode, output } = await wakeAsRouter();
    assert.deepEqual({ code, mode }, { code: 'wake_failed', mode: 'Suspended' }, output);
  });

  test('a router for one namespace needs rights there only', async () => {
    await install((await helmTemplate(['namespaces={tenant-a}'])).stdout);
    const { code, mode, output } = await wakeAsRouter(['--namespaces', 'tenant-a']);
    assert.deepEqual({ code, mode }, { code: 'waking', mode: 'Running' }, output);
    assert.doesNotMatch(output, /forbidden/i);
  });

  /** A policy takes effect a moment after it was accepted. */
  async function eventuallyRefused(commandLine: readonly string[], why: RegExp): Promise<void> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const { code, stderr } = await session().kubectl([...commandLine, '--dry-run=server']);
      if (code !== 0) {
        assert.match(stderr, why);
        return;
      }
      assert.ok(Date.now() < deadline, 'the policy never took effect');
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

interface Rule {
  verbs: string[];
  apiGroups: string[];
  resources: string[];
  resourceNames?: string[];
}

function describeRule({ verbs, apiGroups, resources, resourceNames = [] }: Rule): string {
  return [[...verbs].sort().join(' '), `${apiGroups.join()}/${resources.join()}`, ...resourceNames].join(' ');
}
