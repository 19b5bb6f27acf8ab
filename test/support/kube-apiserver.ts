import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KINDS } from '../../src/engine/api/kinds/index.ts';
import { makeAuthority, makeServerCertificate } from '../../src/engine/api/tls/make-certificate.ts';
import {
  createHttpResourceClient,
  type HttpResourceClient,
  type KubernetesObject,
  loadKubeConfig,
  type ResourceType,
  SANDBOXES,
} from '../../src/kubernetes/index.ts';
import { customResourceDefinition } from './custom-resource-definition.ts';
import { type CuttableProxy, startCuttableProxy } from './cuttable-proxy.ts';
import { freePort } from './free-port.ts';
import { toolPath } from './tools.ts';
import { until } from './until.ts';

/** A real Kubernetes API server with its etcd, and the CRDs of Agent Sandbox; nothing reconciles in it but what a test starts. */
export interface KubeApiServer {
  url: string;
  /** Of a cluster administrator. */
  kubeconfigPath: string;
  client: HttpResourceClient;
  /** Kubeconfig of a user of that name without any rights but what RBAC gives it. */
  /** `server` puts something between, such as a proxy that can be cut. */
  kubeconfigFor(user: string, server?: string): string;
  /** Stops the API server; etcd and its data stay. */
  stopApi(): Promise<void>;
  startApi(): Promise<void>;
  /** Forgets every revision of the store but the present one, as etcd does when it is told to. */
  compact(): Promise<void>;
  /** Between the API server and its store. */
  storeProxy: CuttableProxy;
  pids(): { apiServer: number; etcd: number };
  close(): Promise<void>;
}

/** apiextensions.k8s.io/v1 CustomResourceDefinition. */
export const CUSTOM_RESOURCE_DEFINITIONS: ResourceType = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

const LONG_MS = 10 * 365 * 86_400_000;

/** Users with a token each; rights come from RBAC. */
const USERS = ['admin', 'router', 'tenant-a', 'tenant-b'] as const;

/** Starts etcd and kube-apiserver on free loopback ports and creates the CRDs. Takes about 5 s. */
export async function startKubeApiServer(
  options: {
    kinds?: (kind: { group: string }) => boolean;
    apiFlags?: readonly string[];
    /** The store is spoken to over a Unix socket and without a proxy between, which then cuts nothing; nor can it be compacted. */
    directStore?: boolean;
    /** Of the API server and of its store. */
    environment?: Readonly<Record<string, string>>;
    /** Of the store besides. */
    storeEnvironment?: Readonly<Record<string, string>>;
  } = {},
): Promise<KubeApiServer> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-kube-'));
  const [etcdPort, peerPort, apiPort] = await Promise.all([freePort(), freePort(), freePort()]);
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  // A file in the directory in which both run.
  const etcdSocket = `unix://127.0.0.1:${etcdPort}`;
  const url = `https://127.0.0.1:${apiPort}`;
  const authority = await makeAuthority(Date.now(), LONG_MS);
  const certificate = await makeServerCertificate(authority, ['127.0.0.1', 'localhost'], Date.now(), LONG_MS);
  const signing = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  const tokens = new Map(USERS.map((user) => [user as string, randomBytes(16).toString('hex')]));
  const file = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const tokenLines = [...tokens].map(
    ([user, token]) => `${token},${user},${user},"${user === 'admin' ? 'system:masters' : `group-${user}`}"`,
  );
  const etcd = start(
    directory,
    'etcd',
    [
      `--data-dir=${join(directory, 'etcd')}`,
      // Never both: etcd keeps its listeners by host and port, and one of them would take the other's place.
      `--listen-client-urls=${options.directStore === true ? etcdSocket : etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-cluster=default=http://127.0.0.1:${peerPort}`,
      '--unsafe-no-fsync',
      '--log-level=error',
    ],
    { ...options.environment, ...options.storeEnvironment },
  );
  const storeProxy = await startCuttableProxy(etcdPort);
  const commandLine = [
    `--etcd-servers=${options.directStore === true ? etcdSocket : `http://127.0.0.1:${storeProxy.port}`}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    `--secure-port=${apiPort}`,
    `--tls-cert-file=${file('server.crt', certificate.certificatePem)}`,
    `--tls-private-key-file=${file('server.key', certificate.keyPem)}`,
    `--token-auth-file=${file('tokens.csv', `${tokenLines.join('\n')}\n`)}`,
    '--authorization-mode=RBAC',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-signing-key-file=${file('signing.key', signing.privateKey)}`,
    `--service-account-key-file=${file('signing.pub', signing.publicKey)}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    // Nothing makes service accounts here, as no controller manager runs.
    '--disable-admission-plugins=ServiceAccount',
    '--anonymous-auth=false',
    ...(options.apiFlags ?? []),
  ];
  const kubeconfigFor = (user: string, server = url) =>
    file(
      `kubeconfig-${user}-${new URL(server).port}`,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'test',
        clusters: [
          {
            name: 'test',
            cluster: {
              server,
              'certificate-authority-data': Buffer.from(authority.certificatePem).toString('base64'),
            },
          },
        ],
        users: [{ name: user, user: { token: tokens.get(user) } }],
        contexts: [{ name: 'test', context: { cluster: 'test', user, namespace: 'default' } }],
      }),
    );
  mkdirSync(join(directory, 'logs'), { recursive: true });
  const kubeconfigPath = kubeconfigFor('admin');
  let api: ChildProcess | undefined;
  const client = createHttpResourceClient(loadKubeConfig({ path: kubeconfigPath }));

  async function startApi(): Promise<void> {
    const child = start(directory, 'kube-apiserver', commandLine, options.environment);
    api = child;
    await until(
      'the API server answers',
      async () => {
        if (child.exitCode !== null)
          throw new Error(
            `kube-apiserver ended:\n${readFileSync(join(directory, 'kube-apiserver.log'), 'utf8').slice(-4000)}`,
          );
        return client.get(NAMESPACE, { name: 'default' }).then(
          () => true,
          () => false,
        );
      },
      60_000,
    );
  }

  async function close(): Promise<void> {
    await client.close();
    await stop(api);
    await storeProxy.close();
    await stop(etcd);
    rmSync(directory, { recursive: true, force: true });
  }

  /** etcd's own API, as its gRPC gateway serves it. */
  async function store<Answer>(method: string, request: object): Promise<Answer> {
    const response = await fetch(`${etcdUrl}/v3/kv/${method}`, { method: 'POST', body: JSON.stringify(request) });
    if (!response.ok) throw new Error(`etcd answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as Answer;
  }

  async function compact(): Promise<void> {
    const { header } = await store<{ header: { revision: string } }>('range', { key: btoa('none') });
    await store('compaction', { revision: header.revision, physical: true });
  }

  try {
    await startApi();
    const kinds = KINDS.filter((kind) => !kind.builtIn && (options.kinds?.(kind) ?? true));
    for (const kind of kinds) await client.create(CUSTOM_RESOURCE_DEFINITIONS, customResourceDefinition(kind));
    for (const kind of kinds)
      await until(`${kind.kind} is served`, async () => {
        const found = await client.get<KubernetesObject & { status?: Conditions }>(CUSTOM_RESOURCE_DEFINITIONS, {
          name: `${kind.plural}.${kind.group}`,
        });
        return found.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True');
      });
    await Promise.all(
      kinds.map(({ group, versions, plural, kind, namespaced }) =>
        client.list({ group, version: versions[0].version, plural, kind, namespaced }, { limit: 1 }),
      ),
    );
  } catch (error) {
    await close();
    throw error;
  }
  return {
    url,
    kubeconfigPath,
    client,
    kubeconfigFor,
    storeProxy,
    pids: () => ({ apiServer: api?.pid ?? 0, etcd: etcd.pid ?? 0 }),
    compact,
    stopApi: () => stop(api),
    startApi: async () => {
      await startApi();
      // Custom resources are served a moment later than the rest.
      await until('custom resources are served', () => client.list(SANDBOXES, { limit: 1 }).then(Boolean, () => false));
    },
    close,
  };
}

interface Conditions {
  conditions?: { type: string; status: string }[];
}

const NAMESPACE: ResourceType = {
  group: '',
  version: 'v1',
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
};

function start(
  directory: string,
  tool: string,
  commandLine: string[],
  environment: Readonly<Record<string, string>> = {},
): ChildProcess {
  const log = openSync(join(directory, `${tool}.log`), 'a');
  const child = spawn(toolPath(tool), commandLine, {
    cwd: directory,
    stdio: ['ignore', log, log],
    env: { ...process.env, ...environment },
  });
  // A test run that is killed must not leave servers behind.
  process.once('exit', () => child.kill('SIGKILL'));
  return child;
}

async function stop(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
