import type { KubernetesObject } from '../../../kubernetes/index.ts';
import type { Store } from '../../store/index.ts';
import { collectionOf, type Kind } from '../kinds/kind.ts';
import { FOREGROUND_FINALIZER, ORPHAN_FINALIZER } from '../operations/delete.ts';
import type { Operations } from '../operations/index.ts';

interface Place {
  collection: string;
  namespace?: string;
  name: string;
}

/** What the collector is given; `report` hears of failed deletions, which are tried again at the next change. */
export interface LifecycleDependencies {
  store: Store;
  operations: Operations;
  kinds: readonly Kind[];
  report: (error: unknown, doing: string) => void;
}

/**
 * Deletes what is owned by UID once no owner is left, holds owners that are deleted in the foreground until their dependents are gone,
 * and lets dependents go where the deletion says so. Also cleans up what a crash left between. Returns how to stop it.
 */
export function startGarbageCollector({ store, operations, kinds, report }: LifecycleDependencies): () => void {
  const places = new Map<string, Place>();
  const dependents = new Map<string, Set<string>>();
  const ownersOf = new Map<string, string[]>();
  const dirty = new Set<string>();
  const stops: (() => void)[] = [];
  let stopped = false;
  let scheduled = false;

  for (const kind of kinds) {
    const collection = collectionOf(kind);
    let position = store.revision;
    for (const { object } of store.list(collection).items) note(collection, object);
    stops.push(
      store.subscribe(collection, () => {
        const changes = store.changes(collection, position);
        for (const change of changes) {
          position = change.revision;
          if (change.type === 'DELETED') forget(change.object);
          else note(collection, change.object);
        }
      }),
    );
  }
  for (const uid of ownersOf.keys()) dirty.add(uid);
  schedule();

  function note(collection: string, object: KubernetesObject): void {
    const { uid, name, namespace, ownerReferences, finalizers, deletionTimestamp } = object.metadata;
    if (uid === undefined) return;
    places.set(uid, { collection, name, ...(namespace === undefined ? {} : { namespace }) });
    const owners = (ownerReferences ?? []).map((owner) => owner.uid);
    const known = ownersOf.get(uid) ?? [];
    if (owners.join() !== known.join()) {
      for (const owner of known) release(owner, uid);
      for (const owner of owners) {
        const set = dependents.get(owner) ?? new Set();
        dependents.set(owner, set.add(uid));
      }
      if (owners.length > 0) ownersOf.set(uid, owners);
      else ownersOf.delete(uid);
      mark(uid);
      for (const owner of known) mark(owner);
    }
    const held = finalizers?.some((finalizer) => finalizer === FOREGROUND_FINALIZER || finalizer === ORPHAN_FINALIZER);
    if (deletionTimestamp !== undefined && held) {
      mark(uid);
      for (const dependent of dependents.get(uid) ?? []) mark(dependent);
    }
  }

  function forget({ metadata: { uid } }: KubernetesObject): void {
    if (uid === undefined) return;
    places.delete(uid);
    for (const owner of ownersOf.get(uid) ?? []) {
      release(owner, uid);
      mark(owner);
    }
    ownersOf.delete(uid);
    for (const dependent of dependents.get(uid) ?? []) mark(dependent);
  }

  function release(owner: string, dependent: string): void {
    const set = dependents.get(owner);
    set?.delete(dependent);
    if (set?.size === 0) dependents.delete(owner);
  }

  function mark(uid: string): void {
    dirty.add(uid);
    schedule();
  }

  function schedule(): void {
    if (scheduled || stopped || dirty.size === 0) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      const batch = [...dirty];
      dirty.clear();
      for (const uid of batch) if (!stopped) settle(uid).catch((error) => retry(uid, error));
    });
  }

  function retry(uid: string, error: unknown): void {
    if (stopped) return;
    report(error, 'collect garbage');
    // The object changed under us or the disk refused: look again later rather than at once.
    setTimeout(() => mark(uid), 1000).unref();
  }

  function find(uid: string) {
    const place = places.get(uid);
    if (place === undefined) return undefined;
    const endpoint = operations.storedEndpoint(place.collection);
    const key = endpoint?.kind.namespaced ? `${place.namespace ?? ''}/${place.name}` : place.name;
    const object = store.latest(place.collection, key);
    return endpoint === undefined || object?.metadata.uid !== uid ? undefined : { endpoint, place, object };
  }

  /** Brings one object to where its owners and dependents want it. */
  async function settle(uid: string): Promise<void> {
    const found = find(uid);
    if (found === undefined) return;
    const { endpoint, place, object } = found;
    const { finalizers = [], deletionTimestamp, resourceVersion } = object.metadata;
    if (deletionTimestamp !== undefined && finalizers.includes(ORPHAN_FINALIZER)) {
      for (const dependent of dependents.get(uid) ?? []) await letGo(dependent, uid);
      await dropFinalizer(found, ORPHAN_FINALIZER);
    } else if (deletionTimestamp !== undefined && finalizers.includes(FOREGROUND_FINALIZER)) {
      if (![...(dependents.get(uid) ?? [])].some(blocks(uid))) await dropFinalizer(found, FOREGROUND_FINALIZER);
    }
    const owners = ownersOf.get(uid) ?? [];
    if (owners.length === 0 || deletionTimestamp !== undefined) return;
    const live = owners.filter((owner) => places.has(owner) && !isEnding(owner));
    if (live.length > 0) return;
    const foreground = owners.some(isEnding);
    const propagationPolicy =
      foreground && (dependents.get(uid)?.size ?? 0) > 0 ? ('Foreground' as const) : ('Background' as const);
    const version = resourceVersion === undefined ? {} : { resourceVersion };
    await operations.delete(endpoint, place, { uid, ...version, propagationPolicy }, { dryRun: false });
  }

  /** An owner that waits in the foreground counts as gone for its dependents. */
  function isEnding(owner: string): boolean {
    const metadata = find(owner)?.object.metadata;
    return metadata?.deletionTimestamp !== undefined && metadata.finalizers?.includes(FOREGROUND_FINALIZER) === true;
  }

  function blocks(owner: string): (dependent: string) => boolean {
    return (dependent) =>
      find(dependent)?.object.metadata.ownerReferences?.some(
        (reference) => reference.uid === owner && reference.blockOwnerDeletion === true,
      ) === true;
  }

  async function letGo(dependent: string, owner: string): Promise<void> {
    const found = find(dependent);
    if (found === undefined) return;
    const ownerReferences = (found.object.metadata.ownerReferences ?? []).filter(
      (reference) => reference.uid !== owner,
    );
    await patchMetadata(found, { ownerReferences: ownerReferences.length === 0 ? null : ownerReferences });
  }

  async function dropFinalizer(found: NonNullable<ReturnType<typeof find>>, finalizer: string): Promise<void> {
    const finalizers = (found.object.metadata.finalizers ?? []).filter((name) => name !== finalizer);
    await patchMetadata(found, { finalizers: finalizers.length === 0 ? null : finalizers });
  }

  async function patchMetadata(
    { endpoint, place, object }: NonNullable<ReturnType<typeof find>>,
    metadata: object,
  ): Promise<void> {
    const body = { metadata: { ...metadata, uid: object.metadata.uid } };
    const context = {
      caller: { name: 'garbage-collector', groups: [] },
      dryRun: false,
      fieldValidation: 'Ignore' as const,
      warn: () => {},
    };
    await operations.patch(endpoint, place, { type: 'merge', body, force: false }, context);
  }

  return () => {
    stopped = true;
    for (const stop of stops) stop();
  };
}
