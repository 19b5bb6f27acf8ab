import { notAcceptable } from '../errors.ts';

/** The form in which an answer is wanted. */
export interface Representation {
  as: 'Object' | 'Table' | 'PartialObjectMetadata' | 'Discovery';
}

const JSON_TYPES = new Set(['application/json', 'application/*', '*/*']);

/**
 * The first form of an Accept header that we have: JSON objects, `as=Table`, `as=PartialObjectMetadata[List]`, and for discovery
 * `as=APIGroupDiscoveryList`. @throws ApiError NotAcceptable
 */
export function negotiate(
  accept: string | undefined,
  allowed: readonly Representation['as'][] = ['Object', 'Table', 'PartialObjectMetadata'],
): Representation {
  if (accept === undefined || accept.trim() === '') return { as: 'Object' };
  for (const range of accept.split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    if (!JSON_TYPES.has(type.toLowerCase())) continue;
    const as = representation(new Map(parameters.map((parameter) => parameter.split('=', 2) as [string, string])));
    if (as !== undefined && allowed.includes(as)) return { as };
  }
  throw notAcceptable(['application/json']);
}

function representation(parameters: Map<string, string>): Representation['as'] | undefined {
  const as = parameters.get('as');
  if (as === undefined) return 'Object';
  if (parameters.get('g') === 'apidiscovery.k8s.io')
    return parameters.get('v') === 'v2' && as === 'APIGroupDiscoveryList' ? 'Discovery' : undefined;
  if (parameters.get('g') !== 'meta.k8s.io' || !['v1', 'v1beta1'].includes(parameters.get('v') ?? '')) return undefined;
  if (as === 'Table') return 'Table';
  return as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList' ? 'PartialObjectMetadata' : undefined;
}
