import {
  CHECKPOINT_ANNOTATION,
  createReflector,
  isApiError,
  PODS,
  type Pod,
  type ResourceClient,
  type SandboxTemplate,
  TEMPLATE_HASH_LABEL,
} from '../../../kubernetes/index.ts';
import type { RuntimeCompatibility } from '../../runtime/index.ts';
import { createEventRecorder } from '../events.ts';
import type { ExtensionCaches } from '../extension-caches.ts';
import { keyOf } from '../object-cache.ts';
import { machineIncompatibility } from '../pod/compatibility.ts';
import { isTemplateSnapshot, type SnapshotDirectory, seedSnapshotId, templateSnapshotId } from '../pod/snapshots.ts';
import { annotate, deleteIfThere, find } from '../sandbox/api.ts';
import { controllerOf } from '../sandbox/ownership.ts';
import { blueprintHash } from '../template/blueprint.ts';
import { createWorkQueue } from '../work-queue.ts';
import { copyRefusal, wantsCopies } from './refusal.ts';
import { seedPod, seedStage } from './seed.ts';

/** What makes snapshots of templates possible: whoever runs the Pods keeps them here. */
export interface TemplateSnapshotSupport {
  snapshots: Pick<SnapshotDirectory, 'exists' | 'recordOf' | 'list' | 'discard'>;
  /** What snapshots can be restored with here. */
  compatibility: RuntimeCompatibility;
  /** Whether one snapshot can be restored many times. */
  copies: boolean;
  nodeName: string;
}

/** What the controller needs. */
export interface TemplateSnapshotOptions extends TemplateSnapshotSupport {
  client: ResourceClient;
  caches: ExtensionCaches;
  now(): Date;
  failed(what: string, error: unknown): void;
}

/** How a new member of a pool starts: from its command, or as a copy of a snapshot; `wait`: that snapshot is on its way. */
export type MemberStart = { how: 'command' } | { how: 'copy'; snapshot: string } | { how: 'wait' };

/** Snapshots of templates. */
export interface TemplateSnapshots {
  startOf(template: SandboxTemplate): MemberStart;
  /** The answer of {@link TemplateSnapshots.startOf} for this template may be another now. */
  onChange(listener: (template: SandboxTemplate) => void): void;
  close(): Promise<void>;
}

/** A snapshot that could not be taken is tried again after this time, or when the template changes. */
const RETRY_MS = 5 * 60_000;

/**
 * Templates that ask for it, and that a pool uses → one snapshot each, of their present revision: a seed Pod is started, brought to Ready and stopped into
 * it. All that is known of this lies in the API and on the disk, so an engine that was killed goes on where it was. Snapshots of other revisions go, and
 * with the last pool or the template all do.
 */
export function startTemplateSnapshotController(options: TemplateSnapshotOptions): TemplateSnapshots {
  const { client, caches, snapshots, now } = options;
  const seeds = new Map<string, Pod>();
  /** Snapshots that could not be taken, and when to try again. */
  const failures = new Map<string, number>();
  const listeners: ((template: SandboxTemplate) => void)[] = [];
  const events = createEventRecorder(client, 'sandboxtemplate-controller', now, options.failed);
  const queue = createWorkQueue({
    reconcile: async (key) => {
      // A snapshot is nobody's only if all templates and pools are known.
      await Promise.all([caches.synced, reflector.synced]);
      await reconcile(key);
    },
    failed: (key, error) => options.failed(`snapshot of template ${key}`, error),
  });

  const reflector = createReflector({
    client,
    type: PODS,
    labelSelector: TEMPLATE_HASH_LABEL,
    failed: (error) => options.failed('watching seeds of templates', error),
    listing: () => seeds.clear(),
    listed: () => {},
    upserted: (object) => {
      seeds.set(keyOf(object), object as Pod);
      look(object as Pod);
    },
    deleted: (object) => {
      seeds.delete(keyOf(object));
      look(object as Pod);
    },
  });
  function look(seed: Pod): void {
    const owner = controllerOf(seed);
    if (owner?.kind === 'SandboxTemplate') queue.add(`${seed.metadata.namespace ?? ''}/${owner.name}`);
  }
  caches.templates.listen((after, before) => {
    const template = after ?? before;
    if (template !== undefined) queue.add(keyOf(template));
  });
  caches.pools.listen((after, before) => {
    if (after !== undefined && after.metadata.generation === before?.metadata.generation) return;
    for (const pool of [before, after])
      if (pool !== undefined) queue.add(`${pool.metadata.namespace ?? ''}/${pool.spec.sandboxTemplateRef.name}`);
  });
  // What an earlier engine left of templates that are gone.
  queue.add('');

  function wantedId(template: SandboxTemplate): string | undefined {
    const { deletionTimestamp, namespace, name } = template.metadata;
    if (!options.copies || deletionTimestamp !== undefined || !wantsCopies(template)) return undefined;
    if (copyRefusal(template) !== undefined) return undefined;
    for (const { metadata, spec } of caches.pools.values())
      if (metadata.namespace === namespace && spec.sandboxTemplateRef.name === name) return idOf(template);
    return undefined;
  }

  function isUsable(id: string): boolean {
    if (!snapshots.exists(id)) return false;
    const taken = snapshots.recordOf(id)?.compatibility;
    return taken !== undefined && machineIncompatibility(taken, options.compatibility) === undefined;
  }

  async function reconcile(key: string): Promise<void> {
    const template = caches.templates.get(key);
    const id = template === undefined ? undefined : wantedId(template);
    if (template !== undefined && id === undefined) tellRefusal(template);
    for (const seed of seeds.values())
      if (ownerKeyOf(seed) === key && (seedSnapshotId(seed) !== id || isFailed(id))) await end(seed);
    await sweep();
    if (template === undefined || id === undefined) return;
    if (isUsable(id)) {
      for (const seed of seeds.values()) {
        if (seedSnapshotId(seed) !== id || seed.metadata.deletionTimestamp !== undefined) continue;
        await end(seed);
        events.note(
          template,
          'TemplateSnapshotTaken',
          `Pools are filled from a snapshot of revision ${revisionOf(id)}`,
        );
      }
      changed(template);
    } else if (!isFailed(id)) await advance(template, id, key);
  }

  /** One step from no snapshot to one. */
  async function advance(template: SandboxTemplate, id: string, key: string): Promise<void> {
    const wanted = seedPod(template, options.nodeName);
    const seed = await find<Pod>(client, PODS, wanted.metadata);
    if (seed === undefined) {
      if (snapshots.exists(id)) await snapshots.discard(id);
      await client.create(PODS, wanted).catch((error) => {
        if (!isApiError(error, 'AlreadyExists') && !isApiError(error, 'Invalid')) throw error;
        if (isApiError(error, 'Invalid')) fail(template, id, `its Pod is refused: ${error.message}`, key);
      });
      return;
    }
    if (seedSnapshotId(seed) !== id)
      return fail(template, id, `a Pod "${seed.metadata.name}" that is not the template's is in the way`, key);
    if (seed.metadata.deletionTimestamp !== undefined) return;
    const state = seedStage(seed, now().getTime());
    switch (state.stage) {
      case 'starting':
        return queue.addAfter(key, state.untilMs - now().getTime());
      case 'ready':
        if (seed.metadata.annotations?.[CHECKPOINT_ANNOTATION] === undefined)
          await annotate(client, PODS, seed, { [CHECKPOINT_ANNOTATION]: 'template' });
        return;
      case 'taken':
        await end(seed);
        return fail(template, id, 'what was taken is gone', key);
      case 'failed':
        await end(seed);
        return fail(template, id, state.message, key);
    }
  }

  function fail(template: SandboxTemplate, id: string, message: string, key: string): void {
    failures.set(id, now().getTime() + RETRY_MS);
    events.warn(
      template,
      'TemplateSnapshotFailed',
      `There is no snapshot to fill pools from, ${message}. Members start from their command; the next try is in ${RETRY_MS / 60_000} minutes or when the template changes.`,
    );
    queue.addAfter(key, RETRY_MS);
    changed(template);
  }

  function isFailed(id: string | undefined): boolean {
    const untilMs = failures.get(id ?? '');
    if (untilMs === undefined || id === undefined) return false;
    if (untilMs > now().getTime()) return true;
    failures.delete(id);
    return false;
  }

  /** Templates whose refusal was told, at the generation at which it was. */
  const refused = new Map<string, number | undefined>();
  function tellRefusal(template: SandboxTemplate): void {
    const { uid = '', generation } = template.metadata;
    if (!wantsCopies(template) || refused.get(uid) === generation) return;
    const why = options.copies ? copyRefusal(template) : 'this runtime has no copies of running processes to give';
    if (why === undefined) return;
    refused.set(uid, generation);
    events.warn(template, 'TemplateSnapshotRefused', `Members of its pools start from their command: ${why}`);
  }

  /** Removes the snapshots that no template wants as it is now, once nobody writes them any more. */
  async function sweep(): Promise<void> {
    const found = snapshots.list().filter(isTemplateSnapshot);
    if (found.length === 0) return;
    const wanted = new Set([...caches.templates.values()].map(wantedId));
    for (const seed of seeds.values()) wanted.add(seedSnapshotId(seed));
    for (const id of found) if (!wanted.has(id)) await snapshots.discard(id);
  }

  async function end(seed: Pod): Promise<void> {
    await deleteIfThere(client, PODS, seed, { gracePeriodSeconds: 0 });
  }

  function changed(template: SandboxTemplate): void {
    for (const listener of listeners) listener(template);
  }

  return {
    startOf: (template) => {
      const id = wantedId(template);
      if (id === undefined || isFailed(id)) return { how: 'command' };
      if (isUsable(id)) return { how: 'copy', snapshot: id };
      queue.add(keyOf(template));
      return { how: 'wait' };
    },
    onChange: (listener) => {
      listeners.push(listener);
    },
    close: async () => {
      reflector.close();
      await queue.close();
    },
  };
}

function idOf(template: SandboxTemplate): string {
  return templateSnapshotId(template.metadata.uid ?? '', blueprintHash(template));
}

function revisionOf(id: string): string {
  return id.slice(id.lastIndexOf('-') + 1);
}

function ownerKeyOf(seed: Pod): string {
  return `${seed.metadata.namespace ?? ''}/${controllerOf(seed)?.name ?? ''}`;
}
