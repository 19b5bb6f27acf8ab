import type { FastifyInstance } from 'fastify';
import {
  isApiError,
  NAME_HASH_LABEL,
  nameHash,
  objectWhen,
  POD_SNAPSHOTS,
  type PodSnapshot,
  type ResourceClient,
  SANDBOX_CLAIMS,
  SANDBOXES,
  type Sandbox,
} from '../../kubernetes/index.ts';
import { ProblemError } from '../problem.ts';
import type { SandboxRecord } from '../table/index.ts';
import { refusalOf } from './api-problem.ts';
import type { Callers } from './caller.ts';
import { type SandboxView, viewOf } from './sandbox-view.ts';
import { type SandboxRoutesOptions, startSandbox } from './sandboxes.ts';
import * as schemas from './schemas.ts';

/** What the routes of snapshots need. */
export interface SnapshotRoutesOptions extends SandboxRoutesOptions {
  client: ResourceClient;
}

/** Annotation on a Pod: the snapshot that it starts from (contract section 4.5). */
const RESTORED_SNAPSHOT_ANNOTATION = 'podsnapshot.gke.io/ps-name';
/** Annotation on a snapshot: the Pod that it was taken of. */
const ORIGIN_ANNOTATION = 'podsnapshot.gke.io/origin-pod';
/** How long a claim's controller may take to tell the Sandbox. */
const PROPAGATION_TIMEOUT_MS = 30_000;

/** `/-/v1/sandboxes/:name/snapshots` and `restore`, where `podsnapshot.gke.io` is served; scope `manage`. */
export function registerSnapshotRoutes(
  fastify: FastifyInstance,
  callers: Callers,
  options: SnapshotRoutesOptions,
): void {
  const { client, table } = options;

  async function snapshotsOf({ namespace, name, podName }: SandboxRecord): Promise<PodSnapshot[]> {
    const labelSelector = `${NAME_HASH_LABEL}=${nameHash(name)}`;
    const { items } = await client.list<PodSnapshot>(POD_SNAPSHOTS, { namespace, labelSelector }).catch((error) => {
      throw refusalOf(error, 'read snapshots');
    });
    // Two names can have one hash; the Pod that it was taken of tells.
    const mine = ({ metadata }: PodSnapshot) =>
      [undefined, name, podName].includes(metadata.annotations?.[ORIGIN_ANNOTATION]);
    return items.filter(mine).sort((left, right) => createdMs(right) - createdMs(left));
  }

  fastify.get(
    '/-/v1/sandboxes/:name/snapshots',
    {
      schema: {
        summary: 'Snapshots of a sandbox',
        params: schemas.nameParams,
        querystring: schemas.namespaceQuery,
        response: { 200: schemas.snapshotList, '4xx': schemas.problem },
      },
    },
    async (request) => {
      const { route } = await callers.sandbox(request);
      const snapshots = await snapshotsOf(route.sandbox);
      return {
        items: snapshots.map((snapshot) => ({
          name: snapshot.metadata.name,
          ready: isReady(snapshot),
          createdAt: snapshot.metadata.creationTimestamp ?? '',
        })),
      };
    },
  );

  fastify.post(
    '/-/v1/sandboxes/:name/restore',
    {
      schema: {
        summary: 'Start a paused sandbox from one of its snapshots',
        params: schemas.nameParams,
        querystring: schemas.namespaceQuery,
        body: schemas.restoreBody,
        response: { 202: schemas.sandboxView, '4xx': schemas.problem },
      },
    },
    async (request, reply): Promise<SandboxView> => {
      const { route, principal } = await callers.sandbox(request);
      const { namespace, name } = route.sandbox;
      const { snapshot } = request.body as { snapshot: string };
      const refuse = (code: 'snapshot_not_found' | 'not_paused', detail: string) =>
        new ProblemError({ code, detail, sandbox: name, namespace });
      const found = (await snapshotsOf(route.sandbox)).find(({ metadata }) => metadata.name === snapshot);
      if (found === undefined) throw refuse('snapshot_not_found', `${name} has no snapshot ${snapshot}.`);
      if (!isReady(found)) throw refuse('snapshot_not_found', `Snapshot ${snapshot} is not complete.`);
      if (route.sandbox.running || !route.sandbox.suspended)
        throw refuse('not_paused', `${name} runs: pause it first, then restore.`);
      await nameSnapshot(client, { namespace, name }, snapshot);
      await startSandbox(options, principal, route, 'restore');
      callers.did(request, 'restored', { namespace, sandbox: name });
      reply.code(202);
      return viewOf(table.find(namespace, name) ?? route, options);
    },
  );
}

/** Says from which snapshot the next Pod is to start: through the claim where there is one, as its controller keeps the Sandbox in step with it. */
async function nameSnapshot(
  client: ResourceClient,
  key: { namespace: string; name: string },
  snapshot: string,
): Promise<void> {
  const annotations = { [RESTORED_SNAPSHOT_ANNOTATION]: snapshot };
  try {
    const sandbox = await client.get<Sandbox>(SANDBOXES, key);
    const owner = sandbox.metadata.ownerReferences?.find(
      ({ controller, kind }) => controller === true && kind === 'SandboxClaim',
    );
    if (owner === undefined) {
      const patch = { metadata: { uid: sandbox.metadata.uid }, spec: { podTemplate: { metadata: { annotations } } } };
      await client.patch(SANDBOXES, key, patch, { type: 'merge' });
      return;
    }
    const patch = { metadata: { uid: owner.uid }, spec: { additionalPodMetadata: { annotations } } };
    await client.patch(SANDBOX_CLAIMS, { namespace: key.namespace, name: owner.name }, patch, { type: 'merge' });
    await untilNamed(client, key, snapshot, sandbox);
  } catch (error) {
    if (isApiError(error, 'NotFound') || isApiError(error, 'Conflict')) throw hasGone(key);
    throw refusalOf(error, 'choose a snapshot');
  }
}

function hasGone(key: { namespace: string; name: string }): ProblemError {
  return new ProblemError({ code: 'sandbox_not_found', detail: `${key.name} has just gone.`, ...key });
}

async function untilNamed(
  client: ResourceClient,
  key: { namespace: string; name: string },
  snapshot: string,
  known: Sandbox,
): Promise<void> {
  const signal = AbortSignal.timeout(PROPAGATION_TIMEOUT_MS);
  const accepts = ({ spec }: Sandbox) =>
    spec.podTemplate.metadata?.annotations?.[RESTORED_SNAPSHOT_ANNOTATION] === snapshot;
  const { outcome } = await objectWhen<Sandbox>(client, SANDBOXES, key, { accepts, signal, known });
  if (outcome === 'accepted') return;
  if (outcome === 'deleted') throw hasGone(key);
  throw new ProblemError({
    code: 'wake_failed',
    detail: `The controller of the claim did not take the snapshot over within ${PROPAGATION_TIMEOUT_MS / 1000} s; nothing was started.`,
    retryAfterSeconds: 5,
    sandbox: key.name,
    namespace: key.namespace,
  });
}

function isReady({ status }: PodSnapshot): boolean {
  return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;
}

function createdMs({ metadata }: PodSnapshot): number {
  return Date.parse(metadata.creationTimestamp ?? '') || 0;
}
