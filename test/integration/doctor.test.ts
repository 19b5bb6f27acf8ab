import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { CHECKS, examine, type Finding, type Report } from '../../src/cli/doctor/index.ts';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  loadKubeConfig,
  POD_SNAPSHOTS,
  SANDBOXES,
} from '../../src/kubernetes/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { type KubeApiServer, startKubeApiServer } from '../support/kube-apiserver.ts';
import { missingTool } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { doctorCluster, makeHealthy, SYSTEM, TEAM, untilListing } from './doctor-cluster.ts';
import { allowReader, applyRouterRights, CLUSTER_ROLE_BINDINGS, serveVersions } from './doctor-server.ts';
import { VARIANTS } from './doctor-variants.ts';

const SCOPE = { routerNamespace: SYSTEM, routerLabels: { app: 'sandbox-router' } };

describe('doctor', { skip: missingTool('etcd', 'kube-apiserver') }, () => {
  let api: KubeApiServer;
  const cleanUp = new AsyncDisposableStack();
  before(async () => {
    api = await startKubeApiServer();
    cleanUp.defer(() => api.close());
    await untilListing(api.client);
    await applyRouterRights(api.client);
  });
  after(() => cleanUp.disposeAsync());
  beforeEach(() => makeHealthy(api.client));

  test('finds nothing wrong with a healthy cluster, and says whose rights it looked at', async () => {
    const report = await examine(api.client, SCOPE);
    assert.match(JSON.stringify(report.findings), /ServiceAccount agent-sandbox-system\/sandbox-router may do all/);
    assert.deepEqual(troubles(report), []);
    assert.deepEqual(
      report.checks.map(({ id, severity }) => `${id} ${severity}`),
      CHECKS.map(({ id }) => `${id} ok`),
    );
  });

  for (const { name, spoil, expected, fixNames } of VARIANTS)
    test(`says what to do where ${name}`, async () => {
      await spoil(doctorCluster(api.client));
      const { findings } = await examine(api.client, SCOPE);
      assertTroubles(findings, expected, fixNames);
    });

  test('says where no router runs', async () => {
    const { findings } = await examine(api.client, {
      ...SCOPE,
      routerLabels: { app: 'sandbox-router', track: 'next' },
    });
    assertTroubles(findings, ['router-ingress warning'], `Namespace ${SYSTEM}`);
  });

  test('asks for the rights of the router, not of whoever asks', async () => {
    const cluster = doctorCluster(api.client);
    let spoiled = { findings: [] as Finding[] };
    await cluster.remake(
      CLUSTER_ROLE_BINDINGS,
      'sandbox-router-wake',
      () => {},
      async () => {
        spoiled = await until('the right is gone', async () => {
          const report = await examine(api.client, SCOPE);
          return troubles(report).length > 0 && report;
        });
      },
    );
    assertTroubles(spoiled.findings, ['rbac failure', 'rbac warning'], `ServiceAccount ${SYSTEM}/sandbox-router`);
    await until('the right is back', async () => troubles(await examine(api.client, SCOPE)).length === 0);
  });

  test('looks at one namespace where asked', async () => {
    await doctorCluster(api.client).remove(POD_SNAPSHOTS, 'box-paused-1');
    assert.deepEqual(troubles(await examine(api.client, { ...SCOPE, namespace: 'default' })), []);
    assert.deepEqual(troubles(await examine(api.client, { ...SCOPE, namespace: TEAM })), ['snapshots failure']);
  });

  test('reads lists of any length', async () => {
    const pages: number[] = [];
    const list: HttpResourceClient['list'] = async (type, options = {}) => {
      pages.push(options.limit ?? 0);
      return api.client.list(type, { ...options, limit: 2 });
    };
    const report = await examine({ ...api.client, list }, SCOPE);
    assert.deepEqual(troubles(report), []);
    assert.ok(pages.length > 13 && pages.every((limit) => limit === 500));
  });

  describe('as a user with few rights', () => {
    let client: HttpResourceClient;
    before(() => {
      client = createHttpResourceClient(loadKubeConfig({ path: api.kubeconfigFor('router') }));
      cleanUp.defer(() => client.close());
    });

    test('names the rights that are missing, and skips what it can not read', async () => {
      await allowReader(api.client);
      const { findings } = await until('the rights are in force', async () => {
        const report = await examine(client, SCOPE);
        return report.findings.some(({ check, severity }) => check === 'warm-pools' && severity === 'ok') && report;
      });
      const expected = ['node-pools skipped', 'rbac failure', 'rbac warning'];
      assertTroubles(findings, expected, 'ClusterRole sandbox-router-wake');
      const skipped = findings.find(({ severity }) => severity === 'skipped');
      assert.equal(skipped?.message, 'The right to list nodes in the cluster is missing.');
      assert.match(skipped?.fix ?? '', /resources \["nodes"\], verbs \["list"\]/);
      const wake = findings.find(({ severity }) => severity === 'failure');
      assert.match(wake?.message ?? '', /^Whoever runs this may not patch sandboxes in all namespaces/);
    });
  });

  describe('as a program', () => {
    test('ends with 0 and a table for a healthy cluster', async () => {
      const { code, stdout } = await doctor('--kubeconfig', api.kubeconfigPath);
      assert.equal(code, 0, stdout);
      assert.match(stdout, /^runtime-class: every sandbox runs under gVisor\n {2}ok {8}7 sandbox pods/m);
      assert.match(stdout, /: 0 failures, 0 warnings, 0 skipped, \d+ ok\.\n$/);
      assert.match(stdout, /: 0\.25 CPU and 512 MiB each, so 15 on a node and 15 on all, of which it wants 1\./);
    });

    test('ends with 1 and the fix below the finding for a broken one', async () => {
      await doctorCluster(api.client).remove(POD_SNAPSHOTS, 'box-paused-1');
      const { code, stdout } = await doctor('--kubeconfig', api.kubeconfigPath);
      assert.equal(code, 1);
      assert.match(
        stdout,
        /^ {2}failure {3}Sandbox team-a\/box-paused: .+\n {12}fix: Wake Sandbox team-a\/box-paused /m,
      );
      assert.match(stdout, /: 1 failure, 0 warnings,/);
    });

    test('prints one JSON object', async () => {
      const { code, stdout } = await doctor('--kubeconfig', api.kubeconfigPath, '--json', '-n', TEAM);
      assert.equal(code, 0);
      const { checks, findings, summary } = JSON.parse(stdout) as Report;
      assert.equal(checks.length, CHECKS.length);
      assert.equal(findings.length, summary.ok);
    });

    test('ends with 2 and says why where nobody answers', async () => {
      const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-doctor-'));
      cleanUp.defer(() => rmSync(directory, { recursive: true, force: true }));
      const path = join(directory, 'kubeconfig');
      const cluster = { server: 'https://127.0.0.1:1' };
      const context = { cluster: 'none', user: '' };
      writeFileSync(
        path,
        JSON.stringify({
          'current-context': 'none',
          clusters: [{ name: 'none', cluster }],
          contexts: [{ name: 'none', context }],
        }),
      );
      const { code, stdout, stderr } = await doctor('--kubeconfig', path);
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' });
      assert.match(stderr, /^sandbox-router: The cluster could not be examined: no answer from .*127\.0\.0\.1:1.*\n$/);
    });
  });

  describe('where APIs are missing', () => {
    test('skips what needs pod snapshots, and warns of pauses that lost memory', async () => {
      await serveVersions(api.client, POD_SNAPSHOTS, []);
      const { findings } = await examine(api.client, SCOPE);
      await serveVersions(api.client, POD_SNAPSHOTS, ['v1']);
      assertTroubles(findings, ['snapshots skipped', 'snapshots warning'], `Sandbox ${TEAM}/box-paused`);
    });

    test('warns where only v1alpha1 is served', async () => {
      await serveVersions(api.client, SANDBOXES, ['v1alpha1']);
      const { findings } = await examine(api.client, SCOPE);
      await serveVersions(api.client, SANDBOXES, ['v1beta1']);
      assertTroubles(findings, ['versions warning'], 'agents.x-k8s.io/v1beta1');
    });

    test('fails where there is no Sandbox at all, and judges nothing else of it', async () => {
      await serveVersions(api.client, SANDBOXES, []);
      const { findings } = await examine(api.client, SCOPE);
      await serveVersions(api.client, SANDBOXES, ['v1beta1']);
      const needing = CHECKS.filter(({ needs }) => needs.includes('sandboxes')).map(({ id }) => `${id} skipped`);
      assertTroubles(findings, ['versions failure', ...needing], 'Agent Sandbox');
    });
  });
});

function troubles({ findings }: Pick<Report, 'findings'>): string[] {
  const bad = findings.filter(({ severity }) => severity !== 'ok');
  return [...new Set(bad.map(({ check, severity }) => `${check} ${severity}`))].sort();
}

function assertTroubles(findings: Finding[], expected: readonly string[], fixNames: string): void {
  const said = findings.map(({ check, severity, message, fix }) => `${check} ${severity} ${message} ${fix}`).join('\n');
  assert.deepEqual(troubles({ findings }), expected.toSorted(), said);
  assert.ok(
    findings.some(({ fix }) => fix?.includes(fixNames)),
    `no fix names ${fixNames}:\n${said}`,
  );
  assert.ok(findings.every(({ severity, fix }) => (severity === 'ok') === (fix === undefined)));
}

function doctor(...commandLine: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const main = join(projectRoot, 'src/cli/main.ts');
  return new Promise((resolve) => {
    execFile(process.execPath, [main, 'doctor', ...commandLine], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}
