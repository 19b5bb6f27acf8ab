import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startSandboxController } from '../../src/engine/controllers/index.ts';
import {
  createHttpResourceClient,
  loadKubeConfig,
  PODS,
  type Pod,
  type ResourceClient,
  SANDBOXES,
  type Sandbox,
} from '../../src/kubernetes/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { type KubeApiServer, startKubeApiServer } from '../support/kube-apiserver.ts';
import { programSandbox } from '../support/program-sandbox.ts';
import { type NodeStart, type ServeProcess, startServe, writeKeys } from '../support/serve.ts';
import { type StandInKubelet, startStandInKubelet } from '../support/stand-in-kubelet.ts';
import { until } from '../support/until.ts';
import { startUp } from '../support/up.ts';

/** A router in front of an API: the engine's own, or a cluster's. */
export interface World {
  url: string;
  adminUrl: string;
  /** Of a caller who may reach, wake and manage everything, with default namespace `default`. */
  token: string;
  client: ResourceClient;
  close(): Promise<void>;
}

/** Node of the stand-in kubelet. */
export const NODE_NAME = 'stand-in';
const ECHO_PORT = 8888;

/** Engine with gVisor and router in one process, as `up` starts them. */
export async function engineWorld(): Promise<World> {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'sandbox-router-world-'));
  const command = [process.execPath, join(projectRoot, 'src/cli/main.ts'), 'up'];
  const example = join(projectRoot, 'deploy/examples/quickstart.yaml');
  const up = await startUp({
    directory: projectRoot,
    stateDirectory,
    command: [...command, '--path-prefix', '/by-path', '--example', example],
  });
  const client = createHttpResourceClient(loadKubeConfig({ path: up.kubeconfig }));
  return {
    url: up.url,
    adminUrl: up.adminUrl,
    token: up.token,
    client,
    close: async () => {
      await client.close();
      await up.interrupt();
      rmSync(stateDirectory, { recursive: true, force: true });
    },
  };
}

/** A real API server, the engine's Sandbox controller, a stand-in kubelet and `serve`. */
export interface ClusterWorld extends World {
  kube: KubeApiServer;
  kubelet: StandInKubelet;
  router: ServeProcess;
  /** Another router in front of the same cluster, with the same keys. */
  anotherRouter(flags?: string[], kubeconfig?: string, node?: NodeStart): Promise<ServeProcess>;
  /** Tokens of tenants `tenant-a` and `tenant-b`. */
  tenantTokens: { a: string; b: string };
}

/** Starts a {@link ClusterWorld}. */
export async function clusterWorld(
  options: {
    startMs?: number | ((pod: Pod) => number);
    skips?: (pod: Pod) => boolean;
    restores?: (pod: Pod) => boolean;
    apiFlags?: readonly string[];
  } = {},
): Promise<ClusterWorld> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-world-'));
  const kube = await startKubeApiServer(options.apiFlags === undefined ? {} : { apiFlags: options.apiFlags });
  const controller = startSandboxController({
    client: kube.client,
    snapshots: false,
    nodeName: NODE_NAME,
    failed: () => {},
  });
  const kubelet = startStandInKubelet({ client: kube.client, nodeName: NODE_NAME, port: ECHO_PORT, ...options });
  const keys = writeKeys(directory, {
    admin: { tenant: 'default', namespaces: '*' },
    a: { tenant: 'tenant-a' },
    b: { tenant: 'tenant-b' },
  });
  const anotherRouter = (flags: string[] = [], kubeconfig = kube.kubeconfigPath, node?: NodeStart) =>
    startServe({
      ...(node === undefined ? {} : { node }),
      kubeconfig,
      keys: keys.path,
      flags: ['--base-domain', 'localhost', '--path-prefix', '/by-path', ...flags],
    });
  const router = await anotherRouter();
  await routerReady(router);
  return {
    url: router.url,
    adminUrl: router.adminUrl,
    token: keys.tokens.admin,
    tenantTokens: { a: keys.tokens.a, b: keys.tokens.b },
    client: kube.client,
    kube,
    kubelet,
    router,
    anotherRouter,
    close: async () => {
      await router.stop('SIGKILL');
      await controller.close();
      await kubelet.close();
      await kube.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Waits until a router's table is complete. */
export function routerReady({ adminUrl }: { adminUrl: string }): Promise<unknown> {
  return until('the router is ready', async () =>
    fetch(`${adminUrl}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
}

/** A sandbox that echoes (see support/echo-program.mjs); the same object for every world. */
export function echoSandbox(
  name: string,
  more: { namespace?: string; metadata?: object; spec?: object } = {},
): Sandbox {
  const environment = { ECHO_PORT: String(ECHO_PORT), ECHO_NAME: name };
  return programSandbox({ name, program: 'echo-program.mjs', port: ECHO_PORT, environment, ...more });
}

/** Creates a sandbox and waits until it is Ready. */
export async function createReady(client: ResourceClient, sandbox: Sandbox): Promise<Sandbox> {
  await client.create(SANDBOXES, sandbox);
  return conditionOf(client, sandbox.metadata, 'Ready');
}

/** Waits until a Sandbox's condition is True for its present generation. */
export function conditionOf(
  client: ResourceClient,
  { namespace = 'default', name }: { namespace?: string; name: string },
  type: string,
): Promise<Sandbox> {
  return until(`${name} is ${type}`, async () => {
    const sandbox = await client.get<Sandbox>(SANDBOXES, { namespace, name });
    const found = sandbox.status?.conditions?.find((condition) => condition.type === type);
    const current = (found?.observedGeneration ?? 0) >= (sandbox.metadata.generation ?? 0);
    return found?.status === 'True' && current ? sandbox : undefined;
  });
}

/** Pauses a sandbox through the API and waits until it is. */
export async function pause(client: ResourceClient, name: string, namespace = 'default'): Promise<void> {
  await client.patch(SANDBOXES, { namespace, name }, { spec: { operatingMode: 'Suspended' } }, { type: 'merge' });
  await conditionOf(client, { namespace, name }, 'Suspended');
}

/** The Pod of a sandbox that runs. */
export function podOf(client: ResourceClient, name: string, namespace = 'default'): Promise<Pod> {
  return client.get<Pod>(PODS, { namespace, name });
}
