import { ApiError, type Status } from '../../kubernetes/index.ts';
import { qualifiedKind, qualifiedResource } from './kinds/kind.ts';
import type { FieldError } from './schema/validate.ts';

type Named = { group: string; plural: string; kind: string };
type Details = NonNullable<Status['details']>;

/** An API error with this status code, reason and message. */
export function failure(code: number, reason: string, message: string, details?: Details): ApiError {
  return new ApiError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason,
    ...(details === undefined ? {} : { details }),
    code,
  });
}

function detailsOf(kind: Named, name: string): Details {
  return { ...(name === '' ? {} : { name }), ...(kind.group === '' ? {} : { group: kind.group }), kind: kind.plural };
}

/** 404 for an object. */
export function notFound(kind: Named, name: string): ApiError {
  return failure(404, 'NotFound', `${qualifiedResource(kind)} "${name}" not found`, detailsOf(kind, name));
}

/** 404 for a path that is no resource. */
export function noSuchResource(): ApiError {
  return failure(404, 'NotFound', 'the server could not find the requested resource', {});
}

/** 409 for a name that is taken. */
export function alreadyExists(kind: Named, name: string): ApiError {
  return failure(409, 'AlreadyExists', `${qualifiedResource(kind)} "${name}" already exists`, detailsOf(kind, name));
}

/** 409 for a write that was computed from an older version. */
export function conflict(kind: Named, name: string, why?: string): ApiError {
  const cause = why ?? 'the object has been modified; please apply your changes to the latest version and try again';
  return failure(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualifiedResource(kind)} "${name}": ${cause}`,
    detailsOf(kind, name),
  );
}

/** 422 that names every bad field. */
export function invalid(kind: Named, name: string, errors: FieldError[]): ApiError {
  const sentences = errors.map(({ field, message }) => `${field}: ${message}`);
  const all = sentences.length === 1 ? sentences[0] : `[${sentences.join(', ')}]`;
  return failure(422, 'Invalid', `${qualifiedKind(kind)} "${name}" is invalid: ${all}`, {
    ...(name === '' ? {} : { name }),
    ...(kind.group === '' ? {} : { group: kind.group }),
    kind: kind.kind,
    causes: errors,
  });
}

/** 400. */
export function badRequest(message: string): ApiError {
  return failure(400, 'BadRequest', message);
}

/** 403 for something that nobody may do to this object. */
export function forbidden(kind: Named, name: string, why: string, causes?: Details['causes']): ApiError {
  return failure(403, 'Forbidden', `${qualifiedResource(kind)} "${name}" is forbidden: ${why}`, {
    ...detailsOf(kind, name),
    ...(causes === undefined ? {} : { causes }),
  });
}

/** 410: that version is older than the history kept. */
export function expired(message: string): ApiError {
  return failure(410, 'Expired', message);
}

/** 405 for a verb that the resource doesn't have. */
export function methodNotAllowed(kind?: Named, verb = 'method'): ApiError {
  return kind === undefined
    ? failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {})
    : failure(
        405,
        'MethodNotAllowed',
        `${verb.toLowerCase()} is not supported on resources of kind "${qualifiedResource(kind)}"`,
        detailsOf(kind, ''),
      );
}

/** 422 for a wrong query parameter or option: `options` is the kind that has it, `ListOptions`. */
export function invalidOptions(options: string, errors: FieldError[]): ApiError {
  return invalid({ group: 'meta.k8s.io', plural: '', kind: options }, '', errors);
}

/** 415 for a body of an unknown kind. */
export function unsupportedMediaType(accepted: string[]): ApiError {
  return failure(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
  );
}

/** 406 for an Accept that can't be met. */
export function notAcceptable(accepted: string[]): ApiError {
  return failure(406, 'NotAcceptable', `only the following media types are accepted: ${accepted.join(', ')}`);
}

/** 504: a version that does not exist yet. */
export function futureVersion(asked: number, current: number): ApiError {
  return failure(504, 'Timeout', `Timeout: Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}

/** 500 with the cause. */
export function internalError(cause: unknown): ApiError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return failure(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ message }] });
}

/** The body of a delete that is done. */
export function deleted(kind: Named, name: string, uid: string | undefined): Status {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { ...detailsOf(kind, name), ...(uid === undefined ? {} : { uid }) },
    code: 200,
  };
}
