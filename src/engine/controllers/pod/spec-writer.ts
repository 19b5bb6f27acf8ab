import { join } from 'node:path';
import type { Container, Pod, ResourceClient } from '../../../kubernetes/index.ts';
import type { ImageRoot } from '../../images/index.ts';
import { logKey, sharesSandbox } from '../../pod-containers.ts';
import type { LogStore } from '../../pod-logs/index.ts';
import type { ContainerSpec, NetworkAttachment } from '../../runtime/index.ts';
import type { ClaimVolumes } from './claim-volumes.ts';
import { containerSpecOf, mainContainer } from './container-spec.ts';
import { environmentOf } from './environment.ts';
import { hostsText } from './hosts-file.ts';
import { limitsOf } from './limits.ts';
import { podDataOf } from './pod-data.ts';
import { resolverText } from './resolver-file.ts';
import { sharedFile } from './shared-file.ts';
import { mountsOf, type SharedMemory, sharedMemoryOf } from './volumes.ts';

/** Where what a Pod refers to comes from. */
export interface SpecWriterOptions {
  client: ResourceClient;
  claims: ClaimVolumes;
  logs: LogStore;
  /** Files that Pods get from the engine: a directory for each, and {@link SHARED_FILES}. */
  filesDirectory: string;
  nameServer: string | undefined;
}

/** Which container of a Pod, and where. */
export interface ContainerPlace {
  id: string;
  container: Container;
  image: ImageRoot;
  network: NetworkAttachment;
  /** Id of the Pod's sandbox. */
  sandbox: string;
}

/** Directory of files that Pods share, beside those of the Pods. */
export const SHARED_FILES = 'shared';

/** Makes ready what a container of a Pod refers to (variables, volumes, files in /etc), and says what the runtime is to run. */
export type SpecWriter = (pod: Pod, place: ContainerPlace) => Promise<ContainerSpec>;

/** Creates a {@link SpecWriter}. */
export function createSpecWriter({ client, claims, logs, filesDirectory, nameServer }: SpecWriterOptions): SpecWriter {
  const fileWith = (text: string) => sharedFile(join(filesDirectory, SHARED_FILES), text);

  return async (pod, { id, container, image, network, sandbox }) => {
    const place = { pod, address: network.address };
    const data = podDataOf(client, pod);
    const uid = pod.metadata.uid ?? '';
    const ofPod = join(filesDirectory, uid);
    const shared = sharesSandbox(pod);
    const isHolder = shared && container === mainContainer(pod);
    const sharedMemory = shared ? sharedMemoryOf(pod, ofPod) : undefined;
    // runsc keeps shared memory with the container that mounts it first: with one that ends, it would be missing from a snapshot.
    const held = isHolder ? (sharedMemory ?? []) : [];
    const limits = isHolder || !shared ? limitsOf(pod) : undefined;
    return containerSpecOf(pod, container, image, {
      id,
      network,
      logPath: logs.pathOf(isHolder ? uid : logKey(pod, container.name)),
      environment: await environmentOf(container, place, data),
      mounts: [
        { destination: '/etc/resolv.conf', source: fileWith(resolverText(pod, nameServer)), readOnly: true },
        ...held.map(({ name, path }) => ({ destination: `/mnt/${name}`, source: path, readOnly: false })),
        ...(image.pulled === undefined && !shared
          ? []
          : [{ destination: '/etc/hosts', source: fileWith(hostsText(place)), readOnly: true }]),
        ...(await mountsOf(container, {
          ...place,
          data,
          // What is made for one container must not change under another that runs.
          directory: shared && !isHolder ? join(ofPod, container.name) : ofPod,
          ...(sharedMemory === undefined ? {} : { sharedMemory }),
          claimDirectory: (name) => claims.directoryOf(pod, name),
        })),
      ],
      ...(limits === undefined ? {} : { limits }),
      ...groupOf(container, isHolder, sandbox, sharedMemory),
    });
  };
}

function groupOf(
  container: Container,
  isHolder: boolean,
  sandbox: string,
  sharedMemory: SharedMemory[] | undefined,
): { group?: NonNullable<ContainerSpec['group']> } {
  if (sharedMemory === undefined) return {};
  return isHolder
    ? { group: { role: 'holder', sharedMemory } }
    : { group: { role: 'member', name: container.name, sandbox } };
}
