import { invalid, methodNotAllowed, notFound } from '../errors.ts';
import type { ScalePaths } from '../kinds/kind.ts';
import { type ApiObject, at, text } from '../object.ts';
import { isPlainObject } from '../patch/merge-patch.ts';
import { rootSchema } from '../schema/metadata.ts';
import { integer, object, string } from '../schema/schema.ts';
import type { Endpoint, Operations, RequestContext, Target } from './index.ts';

/** Schema of autoscaling/v1 Scale. */
export const scaleSchema = rootSchema('How many replicas an object has and wants.', {
  spec: object('Wanted.', { replicas: integer('Replicas wanted.', { minimum: 0 }) }),
  status: object('Found.', { replicas: integer('Replicas there are.'), selector: string('Selects the replicas.') }),
});

/** Where the endpoint's scale subresource finds its numbers; undefined where it has none. */
export function scaleOf({ kind, version }: Pick<Endpoint, 'kind' | 'version'>): ScalePaths | undefined {
  return version.scale ?? kind.scale;
}

function pathsOf(endpoint: Endpoint): ScalePaths {
  const paths = scaleOf(endpoint);
  if (paths === undefined) throw methodNotAllowed();
  return paths;
}

/** The scale of an object. @throws ApiError NotFound */
export function readScale(endpoint: Endpoint, source: ApiObject): ApiObject {
  const paths = pathsOf(endpoint);
  const { name, namespace, uid, resourceVersion, creationTimestamp } = source.metadata;
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp } as ApiObject['metadata'],
    spec: { replicas: Number(at(source, 'spec', paths.specReplicas) ?? 0) },
    status: {
      replicas: Number(at(source, 'status', paths.statusReplicas) ?? 0),
      selector: text(source, 'status', paths.statusSelector),
    },
  };
}

/**
 * Sets the number of replicas from a Scale, or from the Scale that `change` makes of the present one. @throws ApiError Invalid, NotFound,
 * Conflict when the Scale names an older resourceVersion
 */
export async function writeScale(
  operations: Operations,
  endpoint: Endpoint,
  target: Target,
  change: (scale: ApiObject) => unknown,
  context: RequestContext,
): Promise<ApiObject> {
  const paths = pathsOf(endpoint);
  const source = operations.get(endpoint, target);
  const wanted = change(readScale(endpoint, source));
  if (!isPlainObject(wanted)) throw notFound(endpoint.kind, target.name);
  const replicas = at(wanted, 'spec', 'replicas') ?? 0;
  if (!Number.isInteger(replicas) || (replicas as number) < 0)
    throw invalid({ group: 'autoscaling', plural: 'scales', kind: 'Scale' }, target.name, [
      {
        field: 'spec.replicas',
        reason: 'FieldValueInvalid',
        message: `Invalid value: ${JSON.stringify(replicas)}: should be a non-negative integer`,
      },
    ]);
  const resourceVersion = text(wanted, 'metadata', 'resourceVersion');
  const body = {
    ...(resourceVersion === '' ? {} : { metadata: { resourceVersion } }),
    spec: { [paths.specReplicas]: replicas },
  };
  const { object: scaled } = await operations.patch(endpoint, target, { type: 'merge', body, force: false }, context);
  return readScale(endpoint, scaled);
}
