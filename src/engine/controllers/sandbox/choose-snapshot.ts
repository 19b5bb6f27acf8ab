import {
  CLONE_OF_ANNOTATION,
  COLD_START_ANNOTATION,
  NAME_HASH_LABEL,
  nameHash,
  POD_SNAPSHOTS,
  type PodSnapshot,
  type ResourceClient,
  type Sandbox,
  SNAPSHOT_ANNOTATION,
  SNAPSHOT_NAME_ANNOTATION,
} from '../../../kubernetes/index.ts';
import { conditionOf } from '../conditions.ts';
import { isTemplateSnapshot } from '../pod/snapshots.ts';
import { newestFirst } from '../snapshot/pod-snapshot.ts';
import { find } from './api.ts';
import { controllerOf } from './ownership.ts';

/** The PodSnapshot that a Sandbox is to start from can't be used. The message says why and what to do. */
export class SnapshotChoiceError extends Error {
  readonly code = 'snapshot_choice';
}

/**
 * Id of the snapshot that a Sandbox's next Pod starts from (contract section 4.5): the PodSnapshot that its pod template names, else the one in which it was
 * suspended, else its template's where it waits in a pool as a copy of that, else, coming from a suspension, its latest; undefined for a cold start. @throws SnapshotChoiceError
 */
export async function chooseSnapshot(client: ResourceClient, sandbox: Sandbox): Promise<string | undefined> {
  const named = sandbox.spec.podTemplate.metadata?.annotations?.[SNAPSHOT_NAME_ANNOTATION];
  if (named) {
    try {
      return await dataOfNamed(client, sandbox, named);
    } catch (error) {
      if (error instanceof SnapshotChoiceError && sandbox.metadata.annotations?.[COLD_START_ANNOTATION] === 'allow')
        return undefined;
      throw error;
    }
  }
  const suspendedIn = sandbox.metadata.annotations?.[SNAPSHOT_ANNOTATION];
  if (suspendedIn !== undefined) return suspendedIn;
  const copyOf = sandbox.metadata.annotations?.[CLONE_OF_ANNOTATION] ?? '';
  if (controllerOf(sandbox)?.kind === 'SandboxWarmPool' && isTemplateSnapshot(copyOf)) return copyOf;
  // A Pod that is lost while its Sandbox runs starts cold: nobody asked for an older state.
  if (conditionOf(sandbox, 'Suspended')?.status !== 'True') return undefined;
  const { namespace, name } = sandbox.metadata;
  const { items } = await client.list<PodSnapshot>(POD_SNAPSHOTS, {
    ...(namespace === undefined ? {} : { namespace }),
    labelSelector: `${NAME_HASH_LABEL}=${nameHash(name)}`,
  });
  const usable = items.filter((snapshot) => isOwn(snapshot, sandbox) && isReady(snapshot));
  return newestFirst(usable)[0]?.status?.storage?.id;
}

async function dataOfNamed(client: ResourceClient, sandbox: Sandbox, name: string): Promise<string> {
  const remedy = `Name another one in the annotation ${SNAPSHOT_NAME_ANNOTATION}, or take it off.`;
  const snapshot = await find<PodSnapshot>(client, POD_SNAPSHOTS, { ...sandbox.metadata, name });
  if (snapshot === undefined) throw new SnapshotChoiceError(`PodSnapshot "${name}" does not exist. ${remedy}`);
  if (!isOwn(snapshot, sandbox))
    throw new SnapshotChoiceError(`PodSnapshot "${name}" is not of this Sandbox. ${remedy}`);
  const id = snapshot.status?.storage?.id;
  if (!isReady(snapshot) || id === undefined)
    throw new SnapshotChoiceError(
      `PodSnapshot "${name}" is not Ready: ${conditionOf(snapshot, 'Ready')?.message ?? 'it has no status'}. ${remedy}`,
    );
  return id;
}

function isOwn({ metadata }: PodSnapshot, sandbox: Sandbox): boolean {
  return metadata.ownerReferences?.some(({ uid }) => uid === sandbox.metadata.uid) === true;
}

function isReady(snapshot: PodSnapshot): boolean {
  return conditionOf(snapshot, 'Ready')?.status === 'True';
}
