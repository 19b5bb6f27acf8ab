import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startExtensionControllers, startSandboxController } from '../../src/engine/controllers/index.ts';
import { startEngine } from '../../src/engine/index.ts';
import { PODS, type ResourceClient } from '../../src/kubernetes/index.ts';
import { projectRoot } from '../support/checkout.ts';
import { startKubeApiServer } from '../support/kube-apiserver.ts';
import { startStandInKubelet } from '../support/stand-in-kubelet.ts';
import { NODE_NAME } from './world.ts';

/** An API with the controllers of claims, pools, templates and Sandboxes, and something that runs Pods. */
export interface ClaimsWorld {
  client: ResourceClient;
  /** What controllers said of failures that they did not expect. */
  failures: string[];
  /** Whether dependents of a deleted owner go too: a real API server alone collects nothing. */
  collectsGarbage: boolean;
  /** Says of a Pod that its container ended with success, where none really runs. */
  finish?(pod: string): Promise<void>;
  close(): Promise<void>;
}

/** The engine with plain processes, in this process. */
export async function engineClaimsWorld(): Promise<ClaimsWorld> {
  const directory = mkdtempSync(join(tmpdir(), 'sandbox-router-claims-'));
  const failures: string[] = [];
  const engine = await startEngine({
    imageCacheBytes: 0,
    prepared: { count: 0, bytes: 0 },
    engineDirectory: join(directory, 'engine'),
    binariesDirectory: join(directory, 'bin'),
    kubeconfigPath: join(directory, 'kubeconfig'),
    listen: { host: '127.0.0.1', port: 0 },
    token: 'secret',
    requestedRuntime: 'process',
    gvisorModuleDirectory: join(projectRoot, 'deploy/toolchain/gvisor'),
    imageLayoutsDirectory: join(directory, 'images'),
    agentDirectory: join(projectRoot, 'src/engine/agent'),
    environment: process.env,
    progress: (_title, task) => task(),
    report: (what, error) => failures.push(`${what}: ${(error as Error).message}`),
  });
  return {
    client: engine.client,
    failures,
    collectsGarbage: true,
    close: async () => {
      await engine.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A real API server, the engine's controllers and a stand-in kubelet. */
export async function clusterClaimsWorld(): Promise<ClaimsWorld> {
  const kube = await startKubeApiServer();
  const failures: string[] = [];
  const failed = (what: string, error: unknown) => failures.push(`${what}: ${(error as Error).message}`);
  const sandboxes = startSandboxController({ client: kube.client, snapshots: false, nodeName: NODE_NAME, failed });
  const extensions = startExtensionControllers({ client: kube.client, failed });
  const kubelet = startStandInKubelet({ client: kube.client, nodeName: NODE_NAME, port: 8888 });
  await Promise.all([sandboxes.synced, extensions.synced, kubelet.synced]);
  return {
    client: kube.client,
    failures,
    collectsGarbage: false,
    finish: async (name) => {
      const key = { namespace: 'default', name };
      const patch = { status: { phase: 'Succeeded' } };
      await kube.client.patch(PODS, key, patch, { type: 'merge', subresource: 'status' });
    },
    close: async () => {
      await extensions.close();
      await sandboxes.close();
      await kubelet.close();
      await kube.close();
    },
  };
}
