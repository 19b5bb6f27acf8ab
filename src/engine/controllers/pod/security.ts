import type { Container, Pod } from '../../../kubernetes/index.ts';
import { containerPath } from '../../pod-containers.ts';
import type { ContainerSpec } from '../../runtime/index.ts';
import { PodRefusedError } from './refusals.ts';

/** What the engine follows of a Pod's and a container's securityContext. */
interface SecurityContext {
  runAsUser?: number;
  runAsGroup?: number;
  runAsNonRoot?: boolean;
  fsGroup?: number;
  supplementalGroups?: number[];
  readOnlyRootFilesystem?: boolean;
  capabilities?: { add?: string[]; drop?: string[] };
}

/**
 * User, groups, capabilities and root of a container by the securityContexts of its Pod and its own, which goes first. @throws PodRefusedError for root where
 * `runAsNonRoot` forbids it, and for names that are no capabilities
 */
export function securityOf(
  pod: Pod,
  container: Container,
  imageUser: ContainerSpec['user'],
): Pick<ContainerSpec, 'user' | 'readOnlyRoot' | 'capabilities'> {
  const ofPod = (pod.spec.securityContext ?? {}) as SecurityContext;
  const security = { ...ofPod, ...container.securityContext } as SecurityContext;
  const uid = security.runAsUser ?? imageUser.uid;
  if (security.runAsNonRoot === true && uid === 0)
    throw new PodRefusedError(
      `${containerPath(pod, container)}.securityContext.runAsNonRoot: the container would run as root; set runAsUser`,
    );
  const groups = [
    ...(uid === imageUser.uid ? (imageUser.additionalGids ?? []) : []),
    ...(ofPod.supplementalGroups ?? []),
    ...(ofPod.fsGroup === undefined ? [] : [ofPod.fsGroup]),
  ];
  const { add = [], drop = [] } = security.capabilities ?? {};
  for (const [list, names] of Object.entries({ add, drop }))
    for (const name of names)
      if (!/^[A-Z_]{2,32}$/.test(name))
        throw new PodRefusedError(
          `${containerPath(pod, container)}.securityContext.capabilities.${list}: "${name}" is no capability such as NET_BIND_SERVICE`,
        );
  return {
    user: {
      uid,
      gid: security.runAsGroup ?? imageUser.gid,
      ...(groups.length === 0 ? {} : { additionalGids: groups }),
    },
    readOnlyRoot: security.readOnlyRootFilesystem === true,
    capabilities: { add, drop },
  };
}
