import { isDeepStrictEqual } from 'node:util';
import { badRequest } from '../errors.ts';
import { propertyOf } from '../schema/normalise.ts';
import type { Schema } from '../schema/schema.ts';
import { isPlainObject } from './merge-patch.ts';

type Json = Record<string, unknown>;

/**
 * Applies a strategic merge patch: like a merge patch, but lists whose schema says so merge by key or as sets, and the directives
 * `$patch: delete|replace|merge`, `$setElementOrder/x`, `$deleteFromPrimitiveList/x` and `$retainKeys` hold.
 * @throws ApiError BadRequest for a directive or list element that makes no sense
 */
export function applyStrategicMergePatch(schema: Schema | undefined, target: unknown, patch: unknown): unknown {
  if (!isPlainObject(patch)) return patch;
  if (patch.$patch === 'replace') return withoutDirectives(patch);
  if (patch.$patch === 'delete') return {};
  if (patch.$patch !== undefined && patch.$patch !== 'merge')
    throw badRequest(`Unknown patch type: ${String(patch.$patch)}`);
  const result: Json = isPlainObject(target) ? retained(target, patch.$retainKeys) : {};
  for (const [name, value] of Object.entries(patch)) {
    if (name === '$patch' || name === '$retainKeys') continue;
    if (name.startsWith('$deleteFromPrimitiveList/')) removeFromSet(result, name.slice(25), value);
    else if (name.startsWith('$setElementOrder/')) continue;
    else if (value === null) delete result[name];
    else {
      const part = schema === undefined ? undefined : propertyOf(schema, name);
      result[name] = Array.isArray(value)
        ? mergeList(part, result[name], value)
        : applyStrategicMergePatch(part, result[name], value);
    }
  }
  for (const [name, order] of Object.entries(patch))
    if (name.startsWith('$setElementOrder/') && Array.isArray(order)) {
      const field = name.slice(17);
      const list = result[field];
      if (Array.isArray(list))
        result[field] = ordered(schema === undefined ? undefined : propertyOf(schema, field), list, order);
    }
  return result;
}

function retained(target: Json, keys: unknown): Json {
  return Array.isArray(keys)
    ? Object.fromEntries(Object.entries(target).filter(([name]) => keys.includes(name)))
    : { ...target };
}

function removeFromSet(result: Json, name: string, values: unknown): void {
  const list = result[name];
  if (Array.isArray(list) && Array.isArray(values)) result[name] = list.filter((item) => !values.includes(item));
}

function mergeList(schema: Schema | undefined, target: unknown, patch: unknown[]): unknown[] {
  const current = Array.isArray(target) ? target : [];
  const type = schema?.['x-kubernetes-list-type'];
  if (type === 'set') return [...current, ...patch.filter((item) => !current.includes(item))];
  const key = schema?.['x-kubernetes-list-map-keys']?.[0];
  if (type !== 'map' || key === undefined) return patch;
  if (patch.some((item) => isPlainObject(item) && item.$patch === 'replace'))
    return patch.filter((item) => !(isPlainObject(item) && '$patch' in item));
  let result = [...current];
  for (const item of patch) {
    if (!isPlainObject(item) || item[key] === undefined)
      throw badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`);
    const same = (other: unknown) => isPlainObject(other) && isDeepStrictEqual(other[key], item[key]);
    if (item.$patch === 'delete') result = result.filter((other) => !same(other));
    else {
      const index = result.findIndex(same);
      const merged = applyStrategicMergePatch(schema?.items, index < 0 ? {} : result[index], item);
      if (index < 0) result.push(merged);
      else result[index] = merged;
    }
  }
  return result;
}

/** Puts the elements that the order names in that order; others keep their place after the element before them. */
function ordered(schema: Schema | undefined, list: unknown[], order: unknown[]): unknown[] {
  const key = schema?.['x-kubernetes-list-map-keys']?.[0];
  const identity = (item: unknown) => (key !== undefined && isPlainObject(item) ? item[key] : item);
  const wanted = order.map(identity);
  const rank = (item: unknown) => wanted.findIndex((other) => isDeepStrictEqual(other, identity(item)));
  const named = list.filter((item) => rank(item) >= 0).sort((left, right) => rank(left) - rank(right));
  return list.map((item) => (rank(item) >= 0 ? named.shift() : item));
}

function withoutDirectives(patch: Json): Json {
  return Object.fromEntries(Object.entries(patch).filter(([name]) => !name.startsWith('$')));
}
