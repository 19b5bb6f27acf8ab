import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { engineTagOf } from '../../../src/engine/runtime/index.ts';
import {
  type KubernetesObject,
  MIRROR_ANNOTATION,
  PERSISTENT_VOLUME_CLAIMS,
  POD_SNAPSHOT_MANUAL_TRIGGERS,
  POD_SNAPSHOTS,
  PODS,
  type Pod,
  type PodSnapshot,
  type PodSnapshotManualTrigger,
  type ResourceClient,
  SANDBOX_CLAIMS,
  SANDBOX_WARM_POOLS,
  SANDBOXES,
  type Sandbox,
  type SandboxClaim,
  type SandboxWarmPool,
  SNAPSHOT_ANNOTATION,
} from '../../../src/kubernetes/index.ts';

interface World {
  pods: Pod[];
  sandboxes: Sandbox[];
  claims: SandboxClaim[];
  pools: SandboxWarmPool[];
  snapshots: PodSnapshot[];
  triggers: PodSnapshotManualTrigger[];
  volumes: KubernetesObject[];
}

async function look(client: ResourceClient): Promise<World> {
  const [pods, sandboxes, claims, pools, snapshots, triggers, volumes] = await Promise.all([
    client.list<Pod>(PODS),
    client.list<Sandbox>(SANDBOXES),
    client.list<SandboxClaim>(SANDBOX_CLAIMS),
    client.list<SandboxWarmPool>(SANDBOX_WARM_POOLS),
    client.list<PodSnapshot>(POD_SNAPSHOTS),
    client.list<PodSnapshotManualTrigger>(POD_SNAPSHOT_MANUAL_TRIGGERS),
    client.list(PERSISTENT_VOLUME_CLAIMS),
  ]);
  return {
    pods: pods.items.filter(({ metadata }) => metadata.annotations?.[MIRROR_ANNOTATION] === undefined),
    sandboxes: sandboxes.items,
    claims: claims.items,
    pools: pools.items,
    snapshots: snapshots.items,
    triggers: triggers.items,
    volumes: volumes.items,
  };
}

/** An engine that is looked at. */
export interface EngineAtRest {
  stateDirectory: string;
  pid: number;
  /** Containers that may wait for paused sandboxes, and are no Pod's. */
  prepared: number;
}

/** No two Pods that are Ready, which is to say reachable, may ever have one address. What others say of theirs may be late: see {@link disorder}. @throws AssertionError */
export async function assertNoAddressTwice(client: ResourceClient): Promise<void> {
  const { pods } = await look(client);
  const isReady = ({ metadata, status }: Pod) =>
    metadata.deletionTimestamp === undefined &&
    status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') === true;
  assert.deepEqual(
    addressesHadTwice(pods.filter(isReady), (pod) => pod.status?.podIP),
    [],
  );
}

function addressesHadTwice<Kind extends KubernetesObject>(
  objects: readonly Kind[],
  addressOf: (object: Kind) => string | undefined,
): string[] {
  const byAddress = Map.groupBy(objects, (object) => addressOf(object) ?? '');
  byAddress.delete('');
  return [...byAddress]
    .filter(([, owners]) => owners.length > 1)
    .map(([address, owners]) => `${owners.map(({ metadata }) => metadata.name).join(' and ')} both have ${address}`);
}

/** Everything that is not yet, or never will be, as it should be on an engine at rest: objects that did not arrive, things on the machine that are nobody's, or missing. */
export async function disorder(client: ResourceClient, engine: EngineAtRest): Promise<string[]> {
  const world = await look(client);
  return [...unsettled(world), ...strayOnMachine(world, engine)];
}

function unsettled({ pods, sandboxes, claims, pools, triggers }: World): string[] {
  const found: string[] = [];
  const condition = (object: KubernetesObject, type: string) =>
    (object as Sandbox).status?.conditions?.find((one) => one.type === type)?.status;
  for (const sandbox of sandboxes) {
    const { name } = sandbox.metadata;
    const owned = pods.filter(({ metadata }) => metadata.ownerReferences?.[0]?.uid === sandbox.metadata.uid);
    if (sandbox.spec.operatingMode === 'Suspended') {
      if (condition(sandbox, 'Suspended') !== 'True') found.push(`sandbox ${name} is not suspended`);
      if (owned.length > 0) found.push(`sandbox ${name} is to be suspended and has a pod`);
    } else {
      if (condition(sandbox, 'Ready') !== 'True')
        found.push(`sandbox ${name} is not ready: ${JSON.stringify(sandbox.status)}`);
      if (owned.length !== 1) found.push(`sandbox ${name} has ${owned.length} pods`);
    }
  }
  found.push(...addressesHadTwice(sandboxes, ({ status }) => status?.podIPs?.[0]));
  found.push(...addressesHadTwice(pods, ({ status }) => status?.podIP));
  for (const pod of pods) {
    if (pod.metadata.deletionTimestamp !== undefined) found.push(`pod ${pod.metadata.name} is going`);
    const owner = pod.metadata.ownerReferences?.[0]?.uid;
    if (!sandboxes.some(({ metadata }) => metadata.uid === owner)) found.push(`pod ${pod.metadata.name} is nobody's`);
  }
  for (const claim of claims) {
    const bound = sandboxes.find(({ metadata }) => metadata.name === claim.status?.sandbox?.name);
    if (bound?.metadata.ownerReferences?.[0]?.uid !== claim.metadata.uid)
      found.push(`claim ${claim.metadata.name} has no sandbox of its own`);
  }
  for (const { spec, status, metadata } of pools)
    if (status?.readyReplicas !== spec.replicas) found.push(`pool ${metadata.name} has ${status?.readyReplicas} ready`);
  for (const trigger of triggers)
    if (condition(trigger, 'Triggered') === undefined) found.push(`trigger ${trigger.metadata.name} is open`);
  return found;
}

function strayOnMachine(
  { pods, sandboxes, snapshots, volumes }: World,
  { stateDirectory, pid, prepared }: EngineAtRest,
): string[] {
  const engineDirectory = join(stateDirectory, 'engine');
  const tag = engineTagOf(engineDirectory);
  const uids = new Set(pods.map(({ metadata }) => metadata.uid ?? ''));
  const below = (directory: string) =>
    existsSync(join(engineDirectory, directory)) ? readdirSync(join(engineDirectory, directory)) : [];
  const recordOf = (uid: string) => {
    const text = textOf(join(engineDirectory, 'pods', `${uid}.json`));
    return text === '' ? undefined : (JSON.parse(text) as { containerId: string });
  };
  const containers = new Set([...uids].map((uid) => recordOf(uid)?.containerId ?? `of pod ${uid}`));
  const uidOf = (file: string) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(file)?.[0] ?? file;

  const snapshotIds = new Set([
    ...sandboxes.map(({ metadata }) => metadata.annotations?.[SNAPSHOT_ANNOTATION]),
    ...snapshots.map(({ status }) => status?.storage?.id),
  ]);
  const claimUids = new Set(volumes.map(({ metadata }) => metadata.uid));
  const network = (names: string[], prefix: string) =>
    names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  const namespaces = network(existsSync('/run/netns') ? readdirSync('/run/netns') : [], `sandbox-router-${tag}-`);
  const links = network(readdirSync('/sys/class/net'), `s${tag}`);
  const waiting = below('containers/gvisor').filter((id) => !containers.has(id));
  if (waiting.length <= prepared) for (const id of waiting) containers.add(id);
  // Networks alone may wait as well, for no more sandboxes than sleep.
  const asleep = sandboxes.filter(({ spec }) => spec.operatingMode === 'Suspended').length;
  const waitingNetworks = new Set([...namespaces, ...links].filter((id) => !containers.has(id)));
  const connected = new Set([...containers, ...(waitingNetworks.size <= asleep ? waitingNetworks : [])]);
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(stateDirectory));

  return [
    ...difference('namespace', namespaces, connected),
    ...difference('link', links, connected),
    ...difference('container', below('containers/gvisor'), containers),
    ...difference('record', below('pods').map(uidOf), uids),
    ...strays('log', below('logs').map(uidOf), uids),
    ...strays(
      'files of pod',
      below('pod-files').filter((name) => name !== 'shared'),
      uids,
    ),
    ...below('snapshots')
      .filter((file) => !snapshotIds.has(file.replace(/\.json$/, '')))
      .map(
        (file) =>
          `stray snapshot ${file} ${file.endsWith('.json') ? textOf(join(engineDirectory, 'snapshots', file)) : ''}`,
      ),
    ...strays('volume', below('volumes'), claimUids),
    ...mounts.filter((line) => !namesOneOf(containers, line)).map((line) => `stray mount ${line}`),
    ...strayProcesses(stateDirectory, pid, containers),
  ];
}

function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function difference(what: string, found: string[], wanted: ReadonlySet<string>): string[] {
  const missing = [...wanted].filter((one) => !found.includes(one)).map((one) => `${what} ${one} is missing`);
  return [...strays(what, found, wanted), ...missing];
}

function strays(what: string, found: string[], wanted: ReadonlySet<string | undefined>): string[] {
  return found.filter((one) => !wanted.has(one)).map((one) => `stray ${what} ${one}`);
}

function namesOneOf(containers: ReadonlySet<string>, text: string): boolean {
  return [...containers].some((id) => text.includes(id));
}

/** Processes of the state directory that are neither the engine's own nor those of a container that should be. */
function strayProcesses(stateDirectory: string, enginePid: number, containers: ReadonlySet<string>): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    try {
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      if (!commandLine.includes(stateDirectory) || namesOneOf(containers, commandLine)) continue;
      if (!ancestors(Number(pid)).includes(enginePid) && Number(pid) !== process.pid)
        found.push(`stray process ${pid} ${commandLine}`);
    } catch {
      // It ended while we looked.
    }
  return found;
}

function ancestors(pid: number): number[] {
  const line: number[] = [pid];
  for (let at = pid; at > 1; ) {
    at = Number(readFileSync(`/proc/${at}/stat`, 'utf8').split(') ')[1]?.split(' ')[1]);
    line.push(at);
  }
  return line;
}
