import { isDeepStrictEqual } from 'node:util';
import {
  type ContainerPort,
  NAME_HASH_LABEL,
  nameHash,
  type ResourceClient,
  type Sandbox,
  SERVICES,
  type Service,
  type ServicePort,
} from '../../../kubernetes/index.ts';
import { deleteIfThere, find } from './api.ts';
import { OwnershipError, ownerReferenceTo, ownershipOf, requireAdoptable } from './ownership.ts';

/**
 * The headless Service of a Sandbox (contract section 2.3): made for `service: true`, removed for `false`, kept if it is there and ours
 * without either. Resolves with it, if there is one. @throws OwnershipError for a Service of that name that is not ours
 */
export async function reconcileService(client: ResourceClient, sandbox: Sandbox): Promise<Service | undefined> {
  const { service: wanted } = sandbox.spec;
  // Nobody asked for one and none was ever made: no need to look.
  if (wanted === undefined && sandbox.status?.service === undefined) return undefined;
  const found = await find<Service>(client, SERVICES, sandbox.metadata);
  if (found === undefined) return wanted === true ? await client.create(SERVICES, serviceFor(sandbox)) : undefined;
  const ownership = ownershipOf(found, sandbox);
  if (wanted === false) {
    if (ownership === 'ours') await deleteIfThere(client, SERVICES, found);
    return undefined;
  }
  if (ownership === 'ours') return await repair(client, sandbox, found);
  if (ownership === 'unowned' && wanted === undefined) return undefined;
  requireAdoptable(found, sandbox);
  const { clusterIP } = found.spec;
  if (clusterIP !== undefined && clusterIP !== '' && clusterIP !== 'None')
    throw new OwnershipError(
      `cannot adopt service "${found.metadata.name}": ClusterIP is "${clusterIP}" (expected "None", field is immutable)`,
    );
  const { metadata, spec } = serviceFor(sandbox);
  return await client.patch(SERVICES, found.metadata, { metadata, spec }, { type: 'merge' });
}

async function repair(client: ResourceClient, sandbox: Sandbox, found: Service): Promise<Service> {
  const { metadata, spec } = serviceFor(sandbox);
  const hash = nameHash(sandbox.metadata.name);
  const labelled = found.metadata.labels?.[NAME_HASH_LABEL] === hash;
  const selects = isDeepStrictEqual({ ...found.spec.selector }, spec.selector);
  const ports = sandbox.spec.service !== true || samePorts(found.spec.ports, spec.ports);
  if (labelled && selects && ports) return found;
  const patch = {
    metadata: { labels: metadata.labels },
    spec: { selector: spec.selector, ...(ports ? {} : { ports: spec.ports ?? null }) },
  };
  return await client.patch(SERVICES, found.metadata, patch, { type: 'merge' });
}

function serviceFor(sandbox: Sandbox): Service {
  const { name, namespace } = sandbox.metadata;
  const ours = { [NAME_HASH_LABEL]: nameHash(name) };
  const ports = servicePorts(sandbox);
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: ours,
      ownerReferences: [ownerReferenceTo(sandbox)],
    },
    spec: { clusterIP: 'None', selector: ours, ...(ports.length === 0 ? {} : { ports }) },
  };
}

/**
 * Ports of all containers and native sidecars, unique by number and protocol, sorted; each named after the first container port that
 * names it, else `p-<port>-<protocol>`.
 */
export function servicePorts(sandbox: Sandbox): ServicePort[] {
  const { containers, initContainers = [] } = sandbox.spec.podTemplate.spec;
  const sidecars = initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always');
  const byKey = new Map<string, Required<Pick<ContainerPort, 'containerPort' | 'protocol'>> & { name?: string }>();
  const names = new Set<string>();
  for (const { name, containerPort, protocol = 'TCP' } of [...containers, ...sidecars].flatMap(
    ({ ports = [] }) => ports,
  )) {
    const key = `${containerPort}/${protocol}`;
    const port = byKey.get(key) ?? { containerPort, protocol };
    byKey.set(key, port);
    if (!name || port.name !== undefined || names.has(name)) continue;
    port.name = name;
    names.add(name);
  }
  const sorted = [...byKey.values()].sort(
    (left, right) => left.containerPort - right.containerPort || (left.protocol < right.protocol ? -1 : 1),
  );
  return sorted.map(({ name, containerPort, protocol }) => ({
    name: name ?? freeName(`p-${containerPort}-${protocol.toLowerCase()}`, names),
    protocol,
    port: containerPort,
    targetPort: containerPort,
  }));
}

function freeName(base: string, taken: Set<string>): string {
  let name = base;
  for (let suffix = 2; taken.has(name); suffix++) name = `${base}-${suffix}`;
  taken.add(name);
  return name;
}

function samePorts(left: ServicePort[] = [], right: ServicePort[] = []): boolean {
  const plain = (ports: ServicePort[]) =>
    ports.map(({ name, protocol, port, targetPort }) => `${name}/${protocol}/${port}/${targetPort}`).join();
  return plain(left) === plain(right);
}
