import { noSuchResource } from '../errors.ts';

/** What a path of the API names. */
export interface ResourcePath {
  group: string;
  version: string;
  plural: string;
  namespace?: string;
  name?: string;
  subresource?: string;
}

/**
 * Reads `/api/v1/…` and `/apis/<group>/<version>/…`, after the version: `[namespaces/<ns>/]<plural>[/<name>[/<subresource>]]`.
 * @throws ApiError NotFound for anything else
 */
export function parseResourcePath(path: string): ResourcePath {
  const parts = decodeParts(path);
  const root = parts.shift();
  const group = root === 'api' ? '' : parts.shift();
  const version = parts.shift();
  if ((root !== 'api' && root !== 'apis') || group === undefined || version === undefined || parts.length === 0)
    throw noSuchResource();
  // Below a namespace, except for what belongs to the namespace itself.
  if (
    parts[0] === 'namespaces' &&
    parts.length > 2 &&
    !(parts.length === 3 && ['status', 'finalize'].includes(parts[2] ?? ''))
  ) {
    const [, namespace, plural, name, subresource, ...more] = parts as [string, string, string, string?, string?];
    if (more.length > 0) throw noSuchResource();
    return { group, version, plural, namespace, ...optional(name, subresource) };
  }
  const [plural, name, subresource, ...more] = parts as [string, string?, string?];
  if (more.length > 0) throw noSuchResource();
  return { group, version, plural, ...optional(name, subresource) };
}

function optional(name: string | undefined, subresource: string | undefined) {
  return { ...(name === undefined ? {} : { name }), ...(subresource === undefined ? {} : { subresource }) };
}

function decodeParts(path: string): string[] {
  try {
    const parts = path.replace(/^\//, '').replace(/\/$/, '').split('/').map(decodeURIComponent);
    if (parts.every((part) => part !== '' && !part.includes('/'))) return parts;
  } catch {
    // Malformed percent-encoding names nothing.
  }
  throw noSuchResource();
}
