import assert from 'node:assert/strict';
import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { CHECKS } from '../../src/cli/doctor/index.ts';
import { loadSettings, settings } from '../../src/config/index.ts';
import type { KubernetesObject } from '../../src/kubernetes/index.ts';
import { BUILT_IN_PROMISES, type EgressPolicy, verifyEgress } from '../../src/router/policy/egress.ts';
import { PROBLEMS } from '../../src/router/problem.ts';
import { projectRoot } from '../support/checkout.ts';
import { testRights } from '../support/deploy-rights.ts';
import {
  type ClusterSession,
  clusterSession,
  deployDirectory,
  helmTemplate,
  kustomize,
  missingKubectl,
  nameOf,
  objectsOf,
  run,
} from '../support/deploy-tools.ts';
import { FRONT_DEFINITIONS } from '../support/front-definitions.ts';
import { type KubeApiServer, startKubeApiServer } from '../support/kube-apiserver.ts';
import { missingTool, toolPath } from '../support/tools.ts';

const NAMESPACE = 'agent-sandbox-system';
const CHECKSUM = 'checksum/config';
const DRY_RUN = ['--server-side', '--dry-run=server', '--validate=strict'];

/** Value sets that between them turn every switch of the chart. */
const VALUE_SETS = {
  defaults: [],
  everything: [
    'snapshots.enabled=true',
    'tokenReview.enabled=true',
    'claims.enabled=true',
    'patchGuard.enabled=true',
    'monitoring.enabled=true',
    'monitoring.labels.release=prometheus',
    'dashboard.enabled=true',
    'ingress.enabled=true',
    'gateway.enabled=true',
    'autoscaling.heldRequests.enabled=true',
    'service.type=LoadBalancer',
    'settings.baseDomain=sandboxes.example.com',
    'settings.trustedProxies={10.0.0.0/8,fd00::/8}',
    'settings.heldTotal=10000000',
    'settings.accessLog=false',
    'settings.holdTimeout=1m30s',
    'settings.tracesEndpoint=http://collector:4318',
    'settings.tracesRatio=0.25',
    'extraEnv[0].name=OTEL_EXPORTER_OTLP_HEADERS',
    'extraEnv[0].valueFrom.secretKeyRef.name=otlp',
    'extraEnv[0].valueFrom.secretKeyRef.key=headers',
    'image.repository=example.com/sandbox-router',
    'image.tag=test',
    'image.pullPolicy=Always',
    'imagePullSecrets[0].name=pull',
    'podLabels.team=agents',
    'podAnnotations.note=x',
    'nodeSelector.pool=routers',
    'priorityClassName=system-cluster-critical',
    'networkPolicy.extraEgress[0].ports[0].port=8443',
    'config.egressVerify=enforce',
    'config.tenants.tenant-a.namespaces={tenant-a}',
    'config.tenants.tenant-a.limits.requestsPerSecond=200',
    'config.jwt[0].issuer=https://issuer.example.com',
    'config.jwt[0].audiences={sandbox-router}',
    'config.jwt[0].jwksFile=/etc/sandbox-router-secrets/issuer/jwks.json',
    'config.scopedTokenKeys={/etc/sandbox-router-secrets/scoped-token-keys/current}',
    'secrets={scoped-token-keys,issuer}',
  ],
  'nothing optional': [
    'wake.enabled=false',
    'pause.enabled=false',
    'autoscaling.enabled=false',
    'replicas=3',
    'podDisruptionBudget.enabled=false',
    'networkPolicy.enabled=false',
  ],
  'wake only': ['pause.enabled=false'],
  'pause only': ['wake.enabled=false'],
  'two namespaces': ['namespaces={tenant-a,default}', 'snapshots.enabled=true', 'tokenReview.enabled=true'],
};

describe('deploy/', {
  skip: missingTool('etcd', 'kube-apiserver', 'helm') || missingKubectl(),
  concurrency: 1,
  timeout: 300_000,
}, () => {
  let cluster: KubeApiServer;
  let session: ClusterSession;

  before(async () => {
    cluster = await startKubeApiServer();
    session = clusterSession(cluster.kubeconfigPath);
    const { apply, must } = session;
    await apply(FRONT_DEFINITIONS.map((object) => JSON.stringify(object)).join('\n'));
    await must(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s']);
    await apply(readFileSync(join(deployDirectory, 'kustomize/base/namespace.yaml'), 'utf8'));
    await apply(readFileSync(join(deployDirectory, 'examples/tenant.yaml'), 'utf8'));
  });
  after(async () => await cluster?.close());

  describe('is accepted by a real API server, field by field', () => {
    for (const overlay of [
      'base',
      ...readdirSync(join(deployDirectory, 'kustomize/overlays')).map((name) => `overlays/${name}`),
    ])
      test(`kustomize/${overlay}`, async () => {
        await session.must(['apply', ...DRY_RUN, '-f', '-'], await kustomize(`kustomize/${overlay}`));
      });

    for (const file of globSync('{policies,examples}/*.yaml', { cwd: deployDirectory }).sort()) {
      const text = readFileSync(join(deployDirectory, file), 'utf8');
      if (!file.endsWith('kustomization.yaml'))
        test(file, async () => {
          await session.must(['apply', ...DRY_RUN, '-f', '-'], text);
        });
    }

    test('policies, as one kustomization in a namespace', async () => {
      await session.must(['apply', ...DRY_RUN, '-n', 'tenant-a', '-k', join(deployDirectory, 'policies')]);
    });

    for (const [name, values] of Object.entries(VALUE_SETS))
      test(`chart: ${name}`, async () => {
        const { code, stdout, stderr } = await helmTemplate(values);
        assert.equal(code, 0, stderr);
        await session.must(['apply', ...DRY_RUN, '-f', '-'], stdout);
      });

    test('no manifest is left out', () => {
      const reachable = globSync('kustomize/**/kustomization.yaml', { cwd: deployDirectory }).flatMap((file) => {
        const { resources = [], patches = [] } = parse(readFileSync(join(deployDirectory, file), 'utf8'));
        const directory = file.replace(/kustomization\.yaml$/, '');
        const used = [...resources, ...patches.map((patch: { path?: string }) => patch.path ?? '')];
        return [file, ...used.filter((path: string) => path.endsWith('.yaml')).map((path: string) => directory + path)];
      });
      assert.deepEqual(
        globSync('kustomize/**/*.yaml', { cwd: deployDirectory }).sort(),
        [...new Set(reachable)].sort(),
      );
      const components = readdirSync(join(deployDirectory, 'kustomize/components'));
      const overlays = globSync('kustomize/overlays/*/kustomization.yaml', { cwd: deployDirectory });
      const used = overlays.map((file) => readFileSync(join(deployDirectory, file), 'utf8')).join('\n');
      for (const component of components) assert.match(used, new RegExp(`components/${component}\\b`));
    });

    test('an unknown field is refused', async () => {
      const text = (await kustomize('kustomize/overlays/gateway')).replace('backendRefs:', 'backends:');
      await session.refused(['apply', ...DRY_RUN, '-f', '-'], /backends/, text);
    });
  });

  describe('chart', () => {
    test('lints', async () => {
      const { code, stdout } = await run(toolPath('helm'), [
        'lint',
        '--strict',
        join(deployDirectory, 'helm/sandbox-router'),
      ]);
      assert.equal(code, 0, stdout);
    });

    test('makes what the kustomize base makes', async () => {
      const chart = objectsOf((await helmTemplate()).stdout);
      // Helm makes the namespace by a flag of its own.
      const base = objectsOf(await kustomize('kustomize/base')).filter(({ kind }) => kind !== 'Namespace');
      assert.deepEqual(chart.map(nameOf).sort(), base.map(nameOf).sort());
      const own = new Map(chart.map((object) => [nameOf(object), essence(object)]));
      for (const object of base) assert.deepEqual(own.get(nameOf(object)), essence(object), nameOf(object));
    });

    for (const [overlay, values] of [
      ['gke', ['snapshots.enabled=true']],
      ['token-review', ['tokenReview.enabled=true']],
      ['claims', ['claims.enabled=true']],
      ['hardened', ['patchGuard.enabled=true']],
      ['wake-only', ['pause.enabled=false']],
      ['read-only', ['wake.enabled=false', 'pause.enabled=false']],
      ['monitoring', ['monitoring.enabled=true', 'dashboard.enabled=true', 'autoscaling.heldRequests.enabled=true']],
      ['ingress', ['ingress.enabled=true', 'settings.baseDomain=sandboxes.example.com']],
      ['configuration', ['config.holdTimeout=55s']],
      ['gateway', ['gateway.enabled=true', 'settings.baseDomain=sandboxes.example.com']],
    ] as const)
      test(`makes what the overlay ${overlay} makes`, async () => {
        const chart = objectsOf((await helmTemplate(values)).stdout);
        const rendered = objectsOf(await kustomize(`kustomize/overlays/${overlay}`));
        const byName = (objects: KubernetesObject[]) =>
          Object.fromEntries(
            objects.filter(({ kind }) => kind !== 'Namespace').map((object) => [nameOf(object), essence(object)]),
          );
        assert.deepEqual(byName(chart), byName(rendered));
      });

    for (const [value, what] of [
      ['replicas=0', /replicas/],
      ['wake.enabled=perhaps', /wake/],
      ['wakes.enabled=true', /wakes/],
      ['settings.holdTime=5s', /holdTime/],
      ['settings.holdTimeout=soon', /holdTimeout/],
      ['settings.tracesRatio=2', /tracesRatio/],
      ['namespaces={Tenant_A}', /namespaces/],
      ['service.type=ExternalName', /service/],
      ['podLabels.app=other', /podLabels/],
      ['config=text', /config/],
      ['secrets={Not_A_Name}', /secrets/],
      ['ingress.hosts={bad host}', /hosts/],
      ['terminationGracePeriodSeconds=1', /terminationGracePeriodSeconds/],
    ] as const)
      test(`refuses ${value}`, async () => {
        const { code, stderr } = await helmTemplate([value]);
        assert.notEqual(code, 0);
        assert.match(stderr, what);
      });

    test('knows only settings that "serve" has, and passes their text on', async () => {
      const schema = JSON.parse(readFileSync(join(deployDirectory, 'helm/sandbox-router/values.schema.json'), 'utf8'));
      const known = Object.values(settings).filter(({ commands }) => (commands as readonly string[]).includes('serve'));
      const keys = known.map(({ key }) => key as string);
      for (const key of Object.keys(schema.properties.settings.properties)) assert.ok(keys.includes(key), key);
      const { env } = routerContainer(objectsOf((await helmTemplate(VALUE_SETS.everything)).stdout));
      assert.deepEqual(Object.fromEntries(env.map(({ name, value }) => [name, value])), {
        SANDBOX_ROUTER_ACCESS_LOG: 'false',
        SANDBOX_ROUTER_BASE_DOMAIN: 'sandboxes.example.com',
        SANDBOX_ROUTER_HELD_TOTAL: '10000000',
        SANDBOX_ROUTER_HOLD_TIMEOUT: '1m30s',
        SANDBOX_ROUTER_TRACES_ENDPOINT: 'http://collector:4318',
        SANDBOX_ROUTER_TRACES_RATIO: '0.25',
        SANDBOX_ROUTER_TRUSTED_PROXIES: '10.0.0.0/8,fd00::/8',
        OTEL_EXPORTER_OTLP_HEADERS: undefined,
      });
    });
  });

  describe('configuration file', () => {
    const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-deploy-'));
    after(() => rmSync(directory, { recursive: true, force: true }));

    /** What the router of these manifests reads, by its own reader and at the path that it is given. */
    const settingsOf = (objects: KubernetesObject[]) => {
      const { template } = deploymentSpec(objects);
      const [container] = template.spec.containers as [Container];
      const path = container.args.find((argument) => argument.startsWith('--config='))?.slice('--config='.length) ?? '';
      const mount = container.volumeMounts.find(({ mountPath }) => dirname(path) === mountPath);
      const volume = template.spec.volumes.find(({ name }) => name === mount?.name);
      const map = objects.find(
        ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === volume?.configMap?.name,
      );
      const text = (map as unknown as { data: Record<string, string> } | undefined)?.data[basename(path)];
      assert.ok(text !== undefined, `no file is mounted at ${path}`);
      const file = join(directory, 'sandbox-router.yaml');
      writeFileSync(file, text);
      return loadSettings({ command: 'serve', file, environment: {}, flags: {} });
    };

    test('of the chart is read by the router, and finds the Secrets that it names', async () => {
      const objects = objectsOf((await helmTemplate(VALUE_SETS.everything)).stdout);
      const read = settingsOf(objects);
      assert.equal(read.egressVerify, 'enforce');
      assert.deepEqual(read.tenants?.get('tenant-a')?.namespaces, ['tenant-a']);
      assert.equal(read.tenants?.get('tenant-a')?.limits.requestsPerSecond, 200);
      const [container] = deploymentSpec(objects).template.spec.containers as [Container];
      for (const path of [read.jwt[0]?.jwksFile ?? '', ...read.scopedTokenKeys]) {
        const mount = container.volumeMounts.find(({ mountPath }) => mountPath === dirname(path));
        const volume = deploymentSpec(objects).template.spec.volumes.find(({ name }) => name === mount?.name);
        assert.equal(volume?.secret?.secretName, basename(dirname(path)), path);
      }
    });

    test('of the kustomize component is read by the router', async () => {
      const read = settingsOf(objectsOf(await kustomize('kustomize/overlays/configuration')));
      assert.equal(read.holdTimeoutMs, 55_000);
    });

    test('rolls the routers where they read a setting only once, and not for what they take up by themselves', async () => {
      const checksum = async (...values: string[]) =>
        deploymentSpec(objectsOf((await helmTemplate(['config.holdTimeout=20s', ...values])).stdout)).template.metadata
          .annotations?.[CHECKSUM];
      const before_ = await checksum();
      assert.match(before_ ?? '', /^[0-9a-f]{64}$/);
      assert.equal(await checksum('config.tenants.tenant-a.idleTimeout=5m', 'config.egressRequired=true'), before_);
      assert.notEqual(await checksum('config.heldTotal=5'), before_);
      assert.notEqual(await checksum('config.egressVerify=warn'), before_);
    });
  });

  describe('rights', () => testRights(() => session));

  test('the router passes the pod security standard "restricted"', async () => {
    await session.apply(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: 'strict', labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
      }),
    );
    const { template } = deploymentSpec(objectsOf(await kustomize('kustomize/base')));
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'router', namespace: 'strict' },
      spec: template.spec,
    };
    await session.must(['create', '--dry-run=server', '-f', '-'], JSON.stringify(pod));
    const loose = structuredClone(pod);
    (loose.spec as { securityContext?: unknown }).securityContext = {};
    await session.refused(['create', '--dry-run=server', '-f', '-'], /violates PodSecurity/, JSON.stringify(loose));
  });

  test('a pod may take longer to end than delay and drain take', async () => {
    const { template } = deploymentSpec(objectsOf(await kustomize('kustomize/base')));
    const seconds = ({ default: value }: { default: unknown }) =>
      (value as (command: 'serve') => number)('serve') / 1000;
    const needed = seconds(settings.shutdownDelayMs) + seconds(settings.drainTimeoutMs);
    assert.ok(template.spec.terminationGracePeriodSeconds > needed, `needed: ${needed} s`);
  });

  test('doctor finds nothing wrong with what the manifests say', async () => {
    const { apply, must } = session;
    const read = (file: string) => readFileSync(join(deployDirectory, file), 'utf8');
    const installed = await kustomize('kustomize/overlays/gke');
    await apply(installed);
    // Nothing makes pods of Deployments here; doctor judges the rights of the account that the router's pods have.
    const { template } = deploymentSpec(objectsOf(installed));
    const metadata = { ...template.metadata, name: 'sandbox-router-1', namespace: NAMESPACE };
    await apply(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec: template.spec }));
    await must(['apply', '--server-side', '-n', 'tenant-a', '-k', join(deployDirectory, 'policies')]);
    for (const file of globSync('{policies/runtime-*,examples/sandbox*,examples/gke-*}.yaml', { cwd: deployDirectory }))
      await apply(read(file));
    const doctor = [join(projectRoot, 'src/cli/main.ts'), 'doctor', '--json', '-n', 'tenant-a'];
    const { stdout } = await run(process.execPath, [...doctor, '--kubeconfig', cluster.kubeconfigPath]);
    const { findings } = JSON.parse(stdout) as { findings: { check: string; severity: string; message: string }[] };
    const manifests = ['versions', 'rbac', 'runtime-class', 'egress-label', 'egress-policy', 'router-ingress'];
    const wrong = findings.filter(({ check, severity }) => manifests.includes(check) && severity === 'failure');
    assert.deepEqual(wrong, []);
    const judged = findings.filter(({ check }) => check === 'rbac').map(({ message }) => message);
    assert.match(judged.join('\n'), /ServiceAccount agent-sandbox-system\/sandbox-router /);
    for (const check of manifests)
      assert.ok(
        findings.some((finding) => finding.check === check),
        check,
      );
  });

  describe('policies', () => {
    for (const [name, promise] of Object.entries(BUILT_IN_PROMISES))
      test(`${name} keeps the promise of its class, and lets the router in`, () => {
        const [policy] = objectsOf(
          readFileSync(join(deployDirectory, `policies/egress-${name}.yaml`), 'utf8'),
        ) as unknown as [{ spec: Omit<EgressPolicy, 'name' | 'namespace'> & { ingress: unknown } }];
        const labels = { 'sandbox-router/egress': name };
        const namespaced = { name, namespace: 'tenant-a', ...policy.spec };
        assert.deepEqual(verifyEgress(promise, { namespace: 'tenant-a', labels }, [namespaced]), { enforced: true });
        assert.deepEqual(policy.spec.ingress, [
          {
            from: [
              {
                namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': NAMESPACE } },
                podSelector: { matchLabels: { app: 'sandbox-router' } },
              },
            ],
          },
        ]);
      });

    test('each class breaks the promise of a stricter one', () => {
      const policyOf = (name: string): EgressPolicy => {
        const { spec } = parse(readFileSync(join(deployDirectory, `policies/egress-${name}.yaml`), 'utf8')) as {
          spec: Omit<EgressPolicy, 'name' | 'namespace'>;
        };
        return { ...spec, name, namespace: 'a', podSelector: {} };
      };
      const held = (promise: string, policy: string) =>
        verifyEgress(BUILT_IN_PROMISES[promise] as never, { namespace: 'a', labels: {} }, [policyOf(policy)]).enforced;
      assert.equal(held('none', 'restricted'), false);
      assert.equal(held('none', 'internet'), false);
      assert.equal(held('restricted', 'internet'), false);
      assert.equal(held('internet', 'restricted'), false);
    });
  });
});

interface Container {
  args: string[];
  env: { name: string; value: string }[];
  volumeMounts: { name: string; mountPath: string }[];
}

interface Volume {
  name: string;
  configMap?: { name: string };
  secret?: { secretName: string };
}

interface DeploymentSpec {
  template: {
    metadata: { labels: Record<string, string>; annotations?: Record<string, string> };
    spec: { terminationGracePeriodSeconds: number; containers: Container[]; volumes: Volume[] };
  };
}

function deploymentSpec(objects: KubernetesObject[]): DeploymentSpec {
  return (objects.find(({ kind }) => kind === 'Deployment') as unknown as { spec: DeploymentSpec }).spec;
}

function routerContainer(objects: KubernetesObject[]): Container {
  return deploymentSpec(objects).template.spec.containers[0] as Container;
}

describe('docs/', () => {
  const files = ['README.md', ...globSync('docs/*.md', { cwd: projectRoot })];
  const textOf = (file: string) => readFileSync(join(projectRoot, file), 'utf8');

  test('links and paths lead somewhere', () => {
    for (const file of files) {
      for (const [, target = ''] of textOf(file).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(target)) continue;
        const [path = '', anchor] = target.split('#');
        const found = path === '' ? file : join(file, '..', path);
        assert.ok(existsSync(join(projectRoot, found)), `${file} links to ${target}`);
        if (anchor !== undefined) assert.ok(anchorsOf(textOf(found)).includes(anchor), `${file} links to ${target}`);
      }
      for (const [, path = ''] of textOf(file).matchAll(/`((?:src|deploy|docs|test|bench)\/[\w./-]*)`/g))
        assert.ok(existsSync(join(projectRoot, path)), `${file} names ${path}`);
    }
  });

  test('operations.md names every problem code with its status, and every metric', () => {
    const text = textOf('docs/operations.md');
    const rows = [...text.matchAll(/^\| `(\w+)` +\| ([45]\d\d) +\|/gm)].map(([, code, status]) => [
      code,
      Number(status),
    ]);
    const problems = Object.entries(PROBLEMS).map(([code, { status }]) => [code, status]);
    assert.deepEqual(rows.sort(), problems.sort());
    const source = textOf('src/telemetry/router-metrics.ts') + textOf('src/telemetry/tenant-metrics.ts');
    const real = [...source.matchAll(/'(sandbox_router_\w+)'/g)].map(([, name = '']) => name);
    const named = [...text.matchAll(/^\| `(sandbox_router_\w+)` /gm)].map(([, name = '']) => name);
    assert.deepEqual(named.sort(), [...new Set(real)].sort());
    for (const [name] of text.matchAll(/sandbox_router_\w+/g))
      assert.ok(named.includes(name.replace(/_bucket$/, '')), name);
  });

  test('readiness.md ties its points to every check of doctor', () => {
    const named = [...textOf('docs/readiness.md').matchAll(/^\| .* \| `([a-z-]+)` +\|$/gm)].map(([, id]) => id);
    assert.deepEqual([...new Set(named)].sort(), CHECKS.map(({ id }) => id).sort());
  });
});

/** Anchors of headings, as GitHub makes them. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** An object without what tells where it came from. */
function essence(object: KubernetesObject): unknown {
  const { metadata: _metadata, apiVersion: _apiVersion, kind: _kind, ...rest } = structuredClone(object);
  // Kustomize has no checksums: whoever patches the ConfigMap restarts the Deployment.
  if (object.kind === 'Deployment') delete (rest as { spec: DeploymentSpec }).spec.template.metadata.annotations;
  return rest;
}
