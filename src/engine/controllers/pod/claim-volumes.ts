import { chmodSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  isApiError,
  PERSISTENT_VOLUME_CLAIMS,
  type PersistentVolumeClaim,
  type Pod,
  type ResourceClient,
} from '../../../kubernetes/index.ts';
import { createObjectCache } from '../object-cache.ts';
import { PodConfigError } from './refusals.ts';

/** What storage of claims needs. */
export interface ClaimVolumesOptions {
  client: ResourceClient;
  /** One directory for each claim, by its UID, lies below it. */
  directory: string;
  failed(what: string, error: unknown): void;
}

/** Where the data of a claim lies. */
export interface ClaimDirectory {
  path: string;
  /** Another Pod uses the claim now, and may change what is below the path at any moment. */
  shared: boolean;
}

/** Directories of this machine behind PersistentVolumeClaims: they live exactly as long as their claim. */
export interface ClaimVolumes {
  synced: Promise<void>;
  /** Directory of a Pod's claim, which is Bound from then on. @throws PodConfigError if there is no such claim */
  directoryOf(pod: Pod, claimName: string): Promise<ClaimDirectory>;
  /** The Pod is gone: directories of claims that are gone too may be removed. */
  release(podUid: string): void;
  /** Removes what belongs to no claim and is used by no Pod; for the start, once all Pods are known. */
  sweep(): void;
  close(): void;
}

/** Follows claims and keeps their directories. */
export function createClaimVolumes({ client, directory, failed }: ClaimVolumesOptions): ClaimVolumes {
  mkdirSync(directory, { recursive: true, mode: 0o711 });
  const users = new Map<string, Set<string>>();
  const claims = createObjectCache<PersistentVolumeClaim>(
    client,
    PERSISTENT_VOLUME_CLAIMS,
    (after) => {
      if (after === undefined) sweep();
    },
    (error) => failed('watching persistentvolumeclaims', error),
  );
  let mayRemove = false;

  function sweep(): void {
    if (!mayRemove) return;
    const kept = new Set([...claims.values()].map(({ metadata }) => metadata.uid));
    for (const used of users.values()) for (const uid of used) kept.add(uid);
    for (const uid of readdirSync(directory))
      if (!kept.has(uid)) rmSync(join(directory, uid), { recursive: true, force: true });
  }

  async function directoryOf(pod: Pod, claimName: string): Promise<ClaimDirectory> {
    const key = { namespace: pod.metadata.namespace ?? '', name: claimName };
    const claim = await client.get<PersistentVolumeClaim>(PERSISTENT_VOLUME_CLAIMS, key).catch((error) => {
      if (isApiError(error, 'NotFound')) throw new PodConfigError(`persistentvolumeclaim "${claimName}" not found`);
      throw error;
    });
    const uid = claim.metadata.uid ?? '';
    const podUid = pod.metadata.uid ?? '';
    users.set(podUid, (users.get(podUid) ?? new Set()).add(uid));
    const path = join(directory, uid);
    if (mkdirSync(path, { recursive: true }) !== undefined) chmodSync(path, 0o777);
    await bind(claim);
    return { path, shared: [...users].some(([other, used]) => other !== podUid && used.has(uid)) };
  }

  async function bind(claim: PersistentVolumeClaim): Promise<void> {
    const { status, spec } = claim as PersistentVolumeClaim & { status?: { phase?: string } };
    if (status?.phase === 'Bound') return;
    const { resources, accessModes } = spec as {
      resources?: { requests?: { storage?: string } };
      accessModes?: string[];
    };
    const storage = resources?.requests?.storage;
    const bound = {
      phase: 'Bound',
      ...(accessModes === undefined ? {} : { accessModes }),
      ...(storage === undefined ? {} : { capacity: { storage } }),
    };
    const options = { type: 'merge', subresource: 'status' } as const;
    await client.patch(PERSISTENT_VOLUME_CLAIMS, claim.metadata, { status: bound }, options);
  }

  return {
    synced: claims.synced,
    directoryOf,
    release: (podUid) => {
      if (users.delete(podUid)) sweep();
    },
    sweep: () => {
      mayRemove = true;
      sweep();
    },
    close: claims.close,
  };
}
