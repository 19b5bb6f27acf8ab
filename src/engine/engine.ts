import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { ResourceClient } from '../kubernetes/index.ts';
import { createEngineApi, ensureCertificates, type PodLogs, writeKubeconfig } from './api/index.ts';
import { createCommandShell } from './command-shell.ts';
import {
  createSnapshotPublisher,
  type PreparedLimits,
  startExtensionControllers,
  startPodController,
  startPolicyController,
  startSandboxController,
  startSnapshotController,
} from './controllers/index.ts';
import { createImageStore } from './images/index.ts';
import { type MachineProgram, type MachinePrograms, publishProgram } from './machine-program.ts';
import {
  claimAddressRange,
  createLoopbackNetwork,
  createVethNetwork,
  enableForwarding,
  gatewayOf,
  type NameServer,
} from './network/index.ts';
import { startNetworkEnforcement } from './network-enforcement.ts';
import { announceNode } from './node.ts';
import { createLogStore, createPodLogs } from './pod-logs/index.ts';
import { createPodStreams } from './pod-streams.ts';
import { goBeforeSandboxes } from './priority.ts';
import { type ContainerRuntime, createContainerIds, hasTool, type Progress, selectRuntime } from './runtime/index.ts';
import { openStore } from './store/index.ts';

/** What an engine is made with. */
export interface EngineOptions {
  /** Everything it keeps lives below it. */
  engineDirectory: string;
  binariesDirectory: string;
  kubeconfigPath: string;
  listen: { host: string; port: number };
  token: string;
  requestedRuntime: 'auto' | 'gvisor' | 'process';
  /** gVisor's Go module, and the agent of the built-in image. */
  gvisorModuleDirectory: string;
  agentDirectory: string;
  /** OCI layouts that images named `oci:…` are read from. */
  imageLayoutsDirectory: string;
  /** Bytes that the image cache may have, save for what sandboxes use. */
  imageCacheBytes: number;
  /** Name servers that names which sandboxes may call are asked of; those of this machine if there are none. */
  nameServers?: readonly NameServer[];
  /** Bounds of the containers that are kept ready for sandboxes to be woken. */
  prepared: PreparedLimits;
  /** CPU from which on its use keeps a sandbox awake, in thousandths; none without it. */
  idleCpuFloorMillicores?: number;
  environment: NodeJS.ProcessEnv;
  progress: Progress;
  report(what: string, error: unknown): void;
}

/** An engine that runs. */
export interface Engine {
  url: string;
  client: ResourceClient;
  runtime: ContainerRuntime;
  /** Lines that whoever started it should read: why not gVisor, what does not protect. */
  warnings: string[];
  /** Lets clients find a program of this machine as a Pod behind a Service. @throws ApiError where somebody else has its name */
  publish(program: MachineProgram): Promise<void>;
  /** Puts every sandbox to sleep for the next start, then ends. Returns what could not be kept. */
  close(): Promise<string[]>;
}

const NODE_NAME = 'local';
/** A router hears of a pause, and calls it off for requests under way, in a few milliseconds; a busy machine may need more. */
const PAUSE_DRAIN_MS = 100;
/** Output of a container that is kept at least: a kubelet's default for one file. */
const LOG_KEEP_BYTES = 10 * 1024 * 1024;

/** Starts the store, the API, the controllers and the runtime; resolves once everything that an earlier engine left is found again. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const { engineDirectory, report } = options;
  const shell = createCommandShell(join(engineDirectory, 'shell'));
  const selected = await selectRuntime({
    ...options,
    shell,
    requested: options.requestedRuntime,
    moduleDirectory: options.gvisorModuleDirectory,
  });
  const { runtime, engineTag, namespaces } = selected;
  // Processes of the other runtime are started by this one, and would go before as well.
  if (runtime.name === 'gvisor') goBeforeSandboxes();
  const subnet = namespaces ? claimAddressRange(engineTag, engineDirectory) : undefined;
  /** The range, where a firewall can be put around it. */
  const guarded = hasTool('nft', options.environment) ? subnet : undefined;
  const network =
    subnet === undefined
      ? createLoopbackNetwork()
      : await createVethNetwork({ engineTag, subnet, shell, routeOut: guarded !== undefined });
  const containers = createContainerIds();
  const store = await openStore({ directory: join(engineDirectory, 'store') });
  let podLogs: PodLogs | undefined;
  const programs: MachinePrograms = new Map();
  const api = await createEngineApi({
    store,
    clock: Date.now,
    random: randomBytes,
    token: options.token,
    podStreams: createPodStreams(runtime, containers, programs),
    podLogs: (namespace, name, logOptions) => {
      if (podLogs === undefined) throw new Error('the engine is still starting');
      return podLogs(namespace, name, logOptions);
    },
    report: (error, doing) => report(doing, error),
  });
  const images = createImageStore({
    toolbox: {
      directory: join(engineDirectory, 'toolbox'),
      nodePath: process.execPath,
      agentDirectory: options.agentDirectory,
    },
    ...(runtime.name === 'gvisor'
      ? {
          oci: {
            directory: join(engineDirectory, 'images'),
            layoutsDirectory: options.imageLayoutsDirectory,
            maxBytes: options.imageCacheBytes,
            environment: options.environment,
          },
        }
      : {}),
  });
  const logs = createLogStore({
    directory: join(engineDirectory, 'logs'),
    keepBytes: LOG_KEEP_BYTES,
    failed: report,
  });
  const policies =
    guarded &&
    startPolicyController({
      client: api.client,
      network,
      containers,
      gateway: gatewayOf(guarded),
      enableForwarding,
      failed: report,
    });
  const enforcement =
    guarded && policies && (await startNetworkEnforcement({ engineTag, subnet: guarded, shell, policies, ...options }));
  const pods = startPodController({
    client: api.client,
    runtime,
    network,
    containers,
    images,
    logs,
    engineDirectory,
    prepared: options.prepared,
    nodeName: NODE_NAME,
    idleCpuFloorMillicores: options.idleCpuFloorMillicores ?? 0,
    podSnapshotChanged: createSnapshotPublisher(api.client, () => new Date()),
    ...(guarded === undefined ? {} : { nameServer: gatewayOf(guarded) }),
    failed: report,
  });
  podLogs = createPodLogs(api.client, logs);
  await pods.recovered;
  await enforcement?.enforce();
  const snapshots = startSnapshotController({
    client: api.client,
    pods,
    compatibility: runtime.compatibility,
    failed: report,
  });
  await snapshots.synced;
  const sandboxes = startSandboxController({
    client: api.client,
    snapshots: true,
    drainMs: PAUSE_DRAIN_MS,
    nodeName: NODE_NAME,
    failed: report,
  });
  const extensions = startExtensionControllers({
    client: api.client,
    templateSnapshots: {
      snapshots: pods.snapshots,
      compatibility: runtime.compatibility,
      copies: runtime.durableSnapshots,
      nodeName: NODE_NAME,
    },
    failed: report,
  });
  await Promise.all([sandboxes.synced, extensions.synced]);
  await announceNode(api.client, NODE_NAME, runtime, new Date());
  const certificates = await ensureCertificates(join(engineDirectory, 'tls'), {
    clock: Date.now,
    names: [options.listen.host],
  });
  const server = await api.listen({ ...options.listen, certificate: certificates });
  await writeKubeconfig(options.kubeconfigPath, {
    server: server.url,
    caPem: certificates.caPem,
    token: options.token,
  });

  return {
    url: server.url,
    client: api.client,
    runtime,
    warnings: warningsOf(runtime, selected.reason, namespaces && guarded === undefined),
    publish: (program) => publishProgram(api.client, programs, program, NODE_NAME, new Date()),
    close: async () => {
      await extensions.close();
      await sandboxes.close();
      await snapshots.close();
      const problems = await pods.hibernate();
      logs.close();
      await policies?.close();
      await enforcement?.close();
      await api.close();
      await network.close();
      await runtime.close();
      shell.close();
      await store.close();
      return problems;
    },
  };
}

function warningsOf(runtime: ContainerRuntime, reason: string | undefined, unprotected: boolean): string[] {
  const warnings: string[] = [];
  if (runtime.name === 'process') {
    const why = reason === undefined ? '' : ` gVisor is not used: ${reason}.`;
    warnings.push(`THE PROCESS RUNTIME ISOLATES NOTHING: sandboxes are plain processes of this user.${why}`);
  }
  if (unprotected)
    warnings.push(
      'nft is missing (package nftables): sandboxes can reach services of this machine that listen on all interfaces, NetworkPolicies are not followed, and nothing outside can be reached.',
    );
  return warnings;
}
