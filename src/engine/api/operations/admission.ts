import { badRequest, invalid } from '../errors.ts';
import { annotationErrors, labelErrors, nameErrors, qualifiedNameProblem } from '../names.ts';
import type { ApiObject } from '../object.ts';
import { isPlainObject } from '../patch/merge-patch.ts';
import { normalise } from '../schema/normalise.ts';
import type { FieldError } from '../schema/validate.ts';
import { type Endpoint, type RequestContext, schemaOf, type Target } from './context.ts';

/**
 * Takes in an object that a client sent: its type and place must fit the request, unknown fields are refused or pruned, defaults filled
 * in. The result is a new object. @throws ApiError BadRequest
 */
export function decode(
  endpoint: Endpoint,
  target: { namespace?: string; name?: string },
  body: unknown,
  context: RequestContext,
): ApiObject {
  if (!isPlainObject(body))
    throw badRequest(
      `the object provided is unrecognized (must be of type ${endpoint.kind.kind}): it is no JSON object`,
    );
  checkType(endpoint, body);
  const unknownFields: string[] = [];
  const object = normalise(schemaOf(endpoint), body, unknownFields) as ApiObject;
  reportFields(endpoint, 'unknown', unknownFields, context);
  if (!isPlainObject(object.metadata ?? {})) throw invalid(endpoint.kind, '', endpoint.validate(object));
  const metadata = object.metadata ?? ({} as ApiObject['metadata']);
  const { namespace } = target;
  if (endpoint.kind.namespaced) {
    if (metadata.namespace !== undefined && metadata.namespace !== '' && metadata.namespace !== namespace)
      throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
    if (namespace !== undefined) metadata.namespace = namespace;
  } else delete metadata.namespace;
  endpoint.kind.prepare?.(object);
  const { status, apiVersion: _, kind: __, metadata: ___, ...rest } = object;
  return {
    apiVersion: endpoint.apiVersion,
    kind: endpoint.kind.kind,
    metadata,
    ...rest,
    ...(status === undefined ? {} : { status }),
  };
}

function checkType(endpoint: Endpoint, body: Record<string, unknown>): void {
  const { apiVersion = endpoint.apiVersion, kind = endpoint.kind.kind } = body;
  const fitting = kind === endpoint.kind.kind && apiVersion === endpoint.apiVersion;
  if (fitting) return;
  if (endpoint.kind.builtIn)
    throw badRequest(
      `${kind} in version ${JSON.stringify(apiVersion)} cannot be handled as a ${endpoint.kind.kind}: no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)}`,
    );
  if (kind !== endpoint.kind.kind)
    throw invalid({ ...endpoint.kind, kind: String(kind) }, nameOf(body), [
      {
        field: 'kind',
        reason: 'FieldValueInvalid',
        message: `Invalid value: ${JSON.stringify(kind)}: must be ${endpoint.kind.kind}`,
      },
    ]);
  throw badRequest(
    `the API version in the data (${apiVersion}) does not match the expected API version (${endpoint.apiVersion})`,
  );
}

function nameOf({ metadata }: Record<string, unknown>): string {
  return isPlainObject(metadata) && typeof metadata.name === 'string' ? metadata.name : '';
}

/** Warns of fields that are too much, or refuses them, as the caller wishes. @throws ApiError BadRequest under strict validation */
export function reportFields(
  endpoint: Endpoint,
  what: 'unknown' | 'duplicate',
  fields: string[],
  context: RequestContext,
): void {
  if (fields.length === 0 || context.fieldValidation === 'Ignore') return;
  const sentences = fields.sort().map((field) => `${what} field "${field}"`);
  if (context.fieldValidation === 'Warn') for (const sentence of sentences) context.warn(sentence);
  else
    throw badRequest(
      `${endpoint.kind.kind} in version "${endpoint.version.version}" cannot be handled as a ${endpoint.kind.kind}: strict decoding error: ${sentences.join(', ')}`,
    );
}

/** Refuses an object that breaks its schema, the rules for metadata or those of its kind. @throws ApiError Invalid */
export function check(endpoint: Endpoint, object: ApiObject, previous: ApiObject | undefined): void {
  const schemaErrors = endpoint.validate(object);
  const misread = schemaErrors.find(({ reason }) => reason === 'FieldValueTypeInvalid');
  // Kubernetes decodes its own kinds into typed structures, where a wrong type is a malformed request.
  if (endpoint.kind.builtIn && misread !== undefined)
    throw badRequest(
      `${endpoint.kind.kind} in version "${endpoint.version.version}" cannot be handled as a ${endpoint.kind.kind}: ${misread.field}: ${misread.message}`,
    );
  // Rules beyond the schema may rely on it.
  const errors =
    schemaErrors.length > 0
      ? schemaErrors
      : [
          ...metadataErrors(endpoint, object, previous),
          ...((endpoint.version.validate ?? endpoint.kind.validate)?.(object, previous) ?? []),
        ];
  if (errors.length > 0) throw invalid(endpoint.kind, object.metadata.name ?? '', errors);
}

function metadataErrors(endpoint: Endpoint, { metadata }: ApiObject, previous: ApiObject | undefined): FieldError[] {
  const owners = metadata.ownerReferences ?? [];
  return [
    ...(previous === undefined ? nameErrors(metadata.name, endpoint.kind.names ?? 'subdomain') : []),
    ...labelErrors(metadata.labels, 'metadata.labels'),
    ...annotationErrors(metadata.annotations, 'metadata.annotations'),
    ...(metadata.finalizers ?? []).flatMap((finalizer, index) => {
      const problem = qualifiedNameProblem(finalizer);
      const field = `metadata.finalizers[${index}]`;
      return problem === undefined
        ? []
        : [
            {
              field,
              reason: 'FieldValueInvalid' as const,
              message: `Invalid value: ${JSON.stringify(finalizer)}: ${problem}`,
            },
          ];
    }),
    ...(owners.filter((owner) => owner.controller === true).length > 1
      ? [
          {
            field: 'metadata.ownerReferences',
            reason: 'FieldValueInvalid' as const,
            message: 'Invalid value: "array": Only one reference can have Controller set to true',
          },
        ]
      : []),
  ];
}

/** The name in the body must be the one in the path. @throws ApiError BadRequest */
export function checkName(object: ApiObject, target: Target): void {
  if ((object.metadata.name ?? '') === '')
    throw badRequest(`the name of the object (${target.name} based on URL) was undeterminable: name must be provided`);
  if (object.metadata.name !== target.name)
    throw badRequest(
      `the name of the object (${object.metadata.name}) does not match the name on the URL (${target.name})`,
    );
}
