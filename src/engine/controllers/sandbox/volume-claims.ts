import {
  NAME_HASH_LABEL,
  nameHash,
  PERSISTENT_VOLUME_CLAIMS,
  type PersistentVolumeClaim,
  type ResourceClient,
  type Sandbox,
} from '../../../kubernetes/index.ts';
import { find } from './api.ts';
import { ownerReferenceTo, ownershipOf, requireAdoptable } from './ownership.ts';

/**
 * Claims for storage named `<template>-<sandbox>`, owned by the Sandbox: its data goes with it, and only with it (contract section 2.2).
 * @throws OwnershipError for a claim of that name that is not ours
 */
export async function reconcileVolumeClaims(client: ResourceClient, sandbox: Sandbox): Promise<void> {
  for (const { metadata, spec } of sandbox.spec.volumeClaimTemplates ?? []) {
    const { namespace } = sandbox.metadata;
    const name = `${metadata.name}-${sandbox.metadata.name}`;
    const key = { name, ...(namespace === undefined ? {} : { namespace }) };
    const found = await find<PersistentVolumeClaim>(client, PERSISTENT_VOLUME_CLAIMS, key);
    const ownerReferences = [ownerReferenceTo(sandbox)];
    if (found === undefined) {
      await client.create<PersistentVolumeClaim>(PERSISTENT_VOLUME_CLAIMS, {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: {
          ...key,
          labels: { ...metadata.labels, [NAME_HASH_LABEL]: nameHash(sandbox.metadata.name) },
          ...(metadata.annotations === undefined ? {} : { annotations: metadata.annotations }),
          ownerReferences,
        },
        spec,
      });
    } else if (ownershipOf(found, sandbox) !== 'ours') {
      requireAdoptable(found, sandbox);
      await client.patch(PERSISTENT_VOLUME_CLAIMS, key, { metadata: { ownerReferences } }, { type: 'merge' });
    }
  }
}
