import type { Status } from '../../../kubernetes/index.ts';
import { badRequest, deleted, failure, forbidden, invalidOptions, notFound } from '../errors.ts';
import { keyOf, qualifiedKind } from '../kinds/kind.ts';
import { type ApiObject, at, text } from '../object.ts';
import { isPlainObject } from '../patch/merge-patch.ts';
import {
  type Endpoint,
  latest,
  type OperationDependencies,
  present,
  type RequestContext,
  type Target,
  timestamp,
} from './context.ts';

/** What a delete asks for; see DeleteOptions in kubernetes/client.ts. */
export interface DeleteRequest {
  uid?: string;
  resourceVersion?: string;
  gracePeriodSeconds?: number;
  propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
  /** Clients say this in the body as well as in the query. */
  dryRun?: boolean;
}

/** Finalizer that holds an owner until its dependents are gone. */
export const FOREGROUND_FINALIZER = 'foregroundDeletion';
/** Finalizer that holds an owner until its dependents are let go. */
export const ORPHAN_FINALIZER = 'orphan';
/** Namespaces that are always there. */
export const PERMANENT_NAMESPACES: readonly string[] = ['default', 'kube-system'];

/** Reads DeleteOptions from a body and query parameters. @throws ApiError BadRequest naming the field */
export function parseDeleteOptions(body: unknown, query: Record<string, string>): DeleteRequest {
  const options = isPlainObject(body) ? body : {};
  const preconditions = isPlainObject(options.preconditions) ? options.preconditions : {};
  const grace = query.gracePeriodSeconds ?? options.gracePeriodSeconds;
  const policy = query.propagationPolicy ?? options.propagationPolicy;
  if (grace !== undefined && grace !== null && !/^-?\d+$/.test(String(grace)))
    throw badRequest(`gracePeriodSeconds: Invalid value: ${JSON.stringify(grace)}: must be an integer`);
  if (policy !== undefined && policy !== null && !['Background', 'Foreground', 'Orphan'].includes(String(policy)))
    throw invalidOptions('DeleteOptions', [
      {
        field: 'propagationPolicy',
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${JSON.stringify(policy)}: supported values: "Foreground", "Background", "Orphan", "nil"`,
      },
    ]);
  const dryRun = Array.isArray(options.dryRun) ? options.dryRun : [];
  const unknown = dryRun.find((value) => value !== 'All');
  if (unknown !== undefined)
    throw invalidOptions('DeleteOptions', [
      {
        field: 'dryRun',
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${JSON.stringify(unknown)}: supported values: "All"`,
      },
    ]);
  return {
    ...(dryRun.length > 0 ? { dryRun: true } : {}),
    ...(typeof preconditions.uid === 'string' ? { uid: preconditions.uid } : {}),
    ...(typeof preconditions.resourceVersion === 'string' ? { resourceVersion: preconditions.resourceVersion } : {}),
    ...(grace === undefined || grace === null ? {} : { gracePeriodSeconds: Number(grace) < 0 ? 1 : Number(grace) }),
    ...(policy === undefined || policy === null
      ? options.orphanDependents === true
        ? { propagationPolicy: 'Orphan' as const }
        : {}
      : { propagationPolicy: String(policy) as 'Background' | 'Foreground' | 'Orphan' }),
  };
}

/**
 * Deletes an object: at once, or after its grace period, its finalizers, its content. Answers the object while it is still there, else a
 * `Status`. @throws ApiError NotFound, Conflict for preconditions, Forbidden for permanent namespaces
 */
export async function deleteObject(
  { store, clock }: OperationDependencies,
  endpoint: Endpoint,
  target: Target,
  request: DeleteRequest,
  context: Pick<RequestContext, 'dryRun'>,
): Promise<ApiObject | Status> {
  const { kind } = endpoint;
  const current = latest(store, endpoint, target);
  if (current === undefined) throw notFound(kind, target.name);
  checkPreconditions(endpoint, current, request);
  if (kind.kind === 'Namespace' && PERMANENT_NAMESPACES.includes(target.name))
    throw forbidden(kind, target.name, 'this namespace may not be deleted');

  const finalizers = finalizersFor(current, request.propagationPolicy);
  const next = terminating(endpoint, current, request, finalizers, clock());
  if (context.dryRun || request.dryRun === true)
    return next === undefined ? deleted(kind, target.name, current.metadata.uid) : present(endpoint, next);
  if (next === current) return present(endpoint, current);
  const written = await store.write(endpoint.collection, keyOf(kind, current), next, current);
  // Kinds with a grace period answer with their last state.
  const gone = next === undefined && kind.gracePeriodSeconds === undefined;
  return gone ? deleted(kind, target.name, current.metadata.uid) : present(endpoint, written);
}

function checkPreconditions(endpoint: Endpoint, { metadata }: ApiObject, request: DeleteRequest): void {
  const { name, uid, resourceVersion } = metadata;
  const refuse = (what: string, asked: string, found: string | undefined, perhaps: string) =>
    failure(
      409,
      'Conflict',
      `Operation cannot be fulfilled on ${qualifiedKind(endpoint.kind)} "${name}": the ${what} in the precondition (${asked}) does not match the ${what} in record (${found}). The object might have been ${perhaps}`,
      { name, ...(endpoint.kind.group === '' ? {} : { group: endpoint.kind.group }), kind: endpoint.kind.kind },
    );
  if (request.uid !== undefined && request.uid !== uid)
    throw refuse('UID', request.uid, uid, 'deleted and then recreated');
  if (request.resourceVersion !== undefined && request.resourceVersion !== resourceVersion)
    throw refuse('ResourceVersion', request.resourceVersion, resourceVersion, 'modified');
}

function finalizersFor({ metadata }: ApiObject, policy: DeleteRequest['propagationPolicy']): string[] {
  const finalizers = metadata.finalizers ?? [];
  if (policy === undefined) return finalizers;
  const others = finalizers.filter((finalizer) => finalizer !== FOREGROUND_FINALIZER && finalizer !== ORPHAN_FINALIZER);
  if (policy === 'Foreground') return [...others, FOREGROUND_FINALIZER];
  return policy === 'Orphan' ? [...others, ORPHAN_FINALIZER] : others;
}

/** The object as it waits for its end; the current one when nothing changes; undefined when it goes at once. */
function terminating(
  endpoint: Endpoint,
  current: ApiObject,
  request: DeleteRequest,
  finalizers: string[],
  nowMs: number,
): ApiObject | undefined {
  const { metadata } = current;
  const allowed = endpoint.kind.gracePeriodSeconds?.(current) ?? 0;
  const grace = allowed === 0 ? 0 : (request.gracePeriodSeconds ?? allowed);
  const isNamespace = endpoint.kind.kind === 'Namespace';
  if (grace === 0 && finalizers.length === 0 && !isNamespace) return undefined;
  const sameFinalizers = finalizers.join() === (metadata.finalizers ?? []).join();
  const pending = metadata.deletionTimestamp !== undefined;
  if (pending && sameFinalizers && (metadata.deletionGracePeriodSeconds ?? 0) <= grace) return current;
  const shorter = pending ? Math.min(grace, metadata.deletionGracePeriodSeconds ?? 0) : grace;
  const next: ApiObject = {
    ...current,
    metadata: {
      ...metadata,
      deletionTimestamp:
        pending && shorter === metadata.deletionGracePeriodSeconds
          ? (metadata.deletionTimestamp as string)
          : timestamp(nowMs + shorter * 1000),
      ...(isNamespace ? {} : { deletionGracePeriodSeconds: shorter }),
      ...(metadata.generation === undefined || pending ? {} : { generation: metadata.generation + 1 }),
    },
  };
  if (finalizers.length > 0) next.metadata.finalizers = finalizers;
  else delete next.metadata.finalizers;
  if (isNamespace) next.status = { ...(at(current, 'status') as object | undefined), phase: 'Terminating' };
  return isNamespace && text(current, 'status', 'phase') === 'Terminating' && sameFinalizers ? current : next;
}
