import { arch, cpus, hostname, platform, release, totalmem } from 'node:os';
import { isApiError, type KubernetesObject, NODES, type ResourceClient } from '../kubernetes/index.ts';
import { ENGINE_API_VERSION } from './api/index.ts';
import type { ContainerRuntime } from './runtime/index.ts';

/** More than any machine runs. */
const POD_CAPACITY = 5000;

/** Tells the API of the one machine that there is, as a kubelet does of its own: what `kubectl get nodes` and `describe node` show. */
export async function announceNode(
  client: ResourceClient,
  name: string,
  runtime: ContainerRuntime,
  now: Date,
): Promise<void> {
  const node: KubernetesObject = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: labelsOf(name, runtime) },
  };
  try {
    await client.create(NODES, node);
  } catch (error) {
    if (!isApiError(error, 'AlreadyExists')) throw error;
    await client.patch(NODES, { name }, { metadata: { labels: labelsOf(name, runtime) } }, { type: 'merge' });
  }
  const resources = {
    cpu: String(cpus().length),
    memory: `${Math.floor(totalmem() / 1024)}Ki`,
    pods: String(POD_CAPACITY),
  };
  const at = `${now.toISOString().slice(0, 19)}Z`;
  const status = {
    capacity: resources,
    allocatable: resources,
    addresses: [
      { type: 'InternalIP', address: '127.0.0.1' },
      { type: 'Hostname', address: hostname() },
    ],
    conditions: [
      {
        type: 'Ready',
        status: 'True',
        reason: 'EngineReady',
        message: 'the engine runs pods on this machine',
        lastHeartbeatTime: at,
        lastTransitionTime: at,
      },
    ],
    nodeInfo: {
      architecture: arch() === 'x64' ? 'amd64' : arch(),
      operatingSystem: platform(),
      osImage: `${platform()} ${release()}`,
      kernelVersion: release(),
      kubeletVersion: ENGINE_API_VERSION,
      kubeProxyVersion: '',
      containerRuntimeVersion: `${runtime.name}://${/\d[\w.-]*/.exec(runtime.description)?.[0] ?? '0'}`,
      machineID: '',
      systemUUID: '',
      bootID: '',
    },
  };
  await client.patch(NODES, { name }, { status }, { type: 'merge', subresource: 'status' });
}

function labelsOf(name: string, runtime: ContainerRuntime): Record<string, string> {
  return {
    'kubernetes.io/hostname': name,
    'kubernetes.io/os': platform(),
    'kubernetes.io/arch': arch() === 'x64' ? 'amd64' : arch(),
    // As on GKE's nodes with GKE Sandbox.
    ...(runtime.name === 'gvisor' ? { 'sandbox.gke.io/runtime': 'gvisor' } : {}),
  };
}
