import { join } from 'node:path';
import type { Pod, ResourceClient } from '../../../kubernetes/index.ts';
import type { ImageRoot } from '../../images/index.ts';
import type { ContainerSpec } from '../../runtime/index.ts';
import type { ClaimVolumes } from './claim-volumes.ts';
import { type ContainerSurroundings, containerSpecOf, mainContainer } from './container-spec.ts';
import { environmentOf } from './environment.ts';
import { hostsText } from './hosts-file.ts';
import { podDataOf } from './pod-data.ts';
import { resolverText } from './resolver-file.ts';
import { sharedFile } from './shared-file.ts';
import { mountsOf } from './volumes.ts';

/** Where what a Pod refers to comes from. */
export interface SpecWriterOptions {
  client: ResourceClient;
  claims: ClaimVolumes;
  /** Files that Pods get from the engine: a directory for each, and {@link SHARED_FILES}. */
  filesDirectory: string;
  nameServer: string | undefined;
}

/** Directory of files that Pods share, beside those of the Pods. */
export const SHARED_FILES = 'shared';

/** Makes ready what the container of a Pod refers to (variables, volumes, /etc/resolv.conf), and says what the runtime is to run. */
export function createSpecWriter({ client, claims, filesDirectory, nameServer }: SpecWriterOptions) {
  const fileWith = (text: string) => sharedFile(join(filesDirectory, SHARED_FILES), text);

  return async (
    pod: Pod,
    image: ImageRoot,
    where: Pick<ContainerSurroundings, 'id' | 'network' | 'logPath'>,
  ): Promise<ContainerSpec> => {
    const container = mainContainer(pod);
    const place = { pod, address: where.network.address };
    const data = podDataOf(client, pod);
    return containerSpecOf(pod, image, {
      ...where,
      environment: await environmentOf(container, place, data),
      mounts: [
        { destination: '/etc/resolv.conf', source: fileWith(resolverText(pod, nameServer)), readOnly: true },
        ...(image.pulled === undefined
          ? []
          : [{ destination: '/etc/hosts', source: fileWith(hostsText(place)), readOnly: true }]),
        ...(await mountsOf(container, {
          ...place,
          data,
          directory: join(filesDirectory, pod.metadata.uid ?? ''),
          claimDirectory: (name) => claims.directoryOf(pod, name),
        })),
      ],
    });
  };
}
