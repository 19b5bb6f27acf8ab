import {
  ADOPTABLE_LABEL,
  type KubernetesObject,
  NAME_HASH_LABEL,
  nameHash,
  type OwnerReference,
  type Sandbox,
} from '../../../kubernetes/index.ts';

/** Whose an object is, seen from a Sandbox: its own, nobody's, or another controller's. UIDs decide, never labels (contract section 2.1). */
export type Ownership = 'ours' | 'unowned' | 'foreign';

/** An object of the Sandbox's name that it may not use. The message says whose it is. */
export class OwnershipError extends Error {
  readonly code = 'not_owned';
}

/** Whose an object is. */
export function ownershipOf(object: KubernetesObject, sandbox: Sandbox): Ownership {
  const owner = controllerOf(object);
  if (owner === undefined) return 'unowned';
  return owner.uid === sandbox.metadata.uid ? 'ours' : 'foreign';
}

/** The owner that controls an object. */
export function controllerOf(object: KubernetesObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find(({ controller }) => controller === true);
}

/** The reference that makes an owner (a Sandbox, a claim, a pool) the controller of an object. */
export function ownerReferenceTo(owner: KubernetesObject): OwnerReference {
  return {
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** @throws OwnershipError unless the object has no owner and says by a label that this Sandbox may have it */
export function requireAdoptable(object: KubernetesObject, sandbox: Sandbox): void {
  const { labels = {}, name } = object.metadata;
  const what = object.kind === 'PersistentVolumeClaim' ? 'PVC' : object.kind.toLowerCase();
  const owner = controllerOf(object);
  if (owner !== undefined)
    throw new OwnershipError(
      `${what} "${name}" is owned by ${owner.kind}/${owner.name} (UID: ${owner.uid}), not by sandbox "${sandbox.metadata.name}"`,
    );
  if (labels[ADOPTABLE_LABEL] === 'true' || labels[NAME_HASH_LABEL] === nameHash(sandbox.metadata.name)) return;
  throw new OwnershipError(
    `cannot adopt unowned ${what} "${name}": missing required pool authorization label ("${ADOPTABLE_LABEL}") or sandbox tracking label ("${NAME_HASH_LABEL}")`,
  );
}
