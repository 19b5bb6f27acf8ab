import { isDeepStrictEqual } from 'node:util';
import { isPlainObject } from '../patch/merge-patch.ts';
import { propertyOf } from '../schema/normalise.ts';
import type { Schema } from '../schema/schema.ts';

/**
 * A set of fields in the `FieldsV1` form of managedFields: `f:name` a property, `k:{…}` an element by its keys, `v:…` an element by its
 * value. A node without children is a member; one with children is a member if it has `.`.
 */
export interface FieldSet {
  [segment: string]: FieldSet;
}

/** One member: the segments from the root. */
export type FieldPath = string[];

/** The leaves of a value, and the elements of its keyed lists. */
export function fieldsOf(schema: Schema | undefined, value: unknown): FieldSet {
  const parts = partsOf(schema, value);
  if (parts === undefined || parts.length === 0) return {};
  const set: FieldSet = {};
  for (const { segment, schema: partSchema, value: part } of parts) {
    const inner = fieldsOf(partSchema, part);
    set[segment] = segment.startsWith('k:') ? { '.': {}, ...inner } : inner;
  }
  return set;
}

/** A granular value taken apart; undefined for one that is set as a whole. */
export function partsOf(
  schema: Schema | undefined,
  value: unknown,
): { segment: string; schema?: Schema; value: unknown }[] | undefined {
  if (isPlainObject(value)) {
    if (schema?.['x-kubernetes-map-type'] === 'atomic') return undefined;
    return Object.entries(value).map(([name, part]) => {
      const partSchema = schema === undefined ? undefined : propertyOf(schema, name);
      return { segment: `f:${name}`, value: part, ...(partSchema === undefined ? {} : { schema: partSchema }) };
    });
  }
  if (!Array.isArray(value)) return undefined;
  const items = schema?.items === undefined ? {} : { schema: schema.items };
  switch (schema?.['x-kubernetes-list-type']) {
    case 'map':
      return value.map((item) => ({ segment: elementSegment(schema, item), value: item, ...items }));
    case 'set':
      return value.map((item) => ({ segment: `v:${JSON.stringify(item)}`, value: item, ...items }));
    default:
      return undefined;
  }
}

/** `k:{"name":"main"}`: an element of a keyed list. */
export function elementSegment(schema: Schema, item: unknown): string {
  const keys: Record<string, unknown> = {};
  for (const key of [...(schema['x-kubernetes-list-map-keys'] ?? [])].sort()) {
    const value = isPlainObject(item) ? (item[key] ?? schema.items?.properties?.[key]?.default) : undefined;
    if (value !== undefined) keys[key] = value;
  }
  return `k:${JSON.stringify(keys)}`;
}

/** Every member. */
export function* membersOf(set: FieldSet, path: FieldPath = []): Generator<FieldPath> {
  const segments = Object.keys(set);
  if (segments.length === 0 && path.length > 0) yield path;
  for (const segment of segments) {
    if (segment === '.') yield path;
    else yield* membersOf(set[segment] as FieldSet, [...path, segment]);
  }
}

/** True if the path is a member. */
export function hasMember(set: FieldSet, path: FieldPath): boolean {
  const node = nodeAt(set, path);
  return node !== undefined && (Object.keys(node).length === 0 || '.' in node);
}

/** True if the path or anything below it is a member. */
export function hasAnyBelow(set: FieldSet, path: FieldPath): boolean {
  return nodeAt(set, path) !== undefined;
}

function nodeAt(set: FieldSet, path: FieldPath): FieldSet | undefined {
  let node: FieldSet | undefined = set;
  for (const segment of path) node = node?.[segment];
  return node;
}

/** The set of these members. */
export function setOfMembers(paths: Iterable<FieldPath>): FieldSet {
  const root: FieldSet = {};
  for (const path of paths) {
    let node = root;
    for (const segment of path) {
      // A member that gets children keeps its own membership as `.`.
      const isNew = !(segment in node);
      node[segment] ??= {};
      const child = node[segment] as FieldSet;
      if (!isNew && Object.keys(child).length === 0 && segment !== path.at(-1)) child['.'] = {};
      node = child;
    }
    if (Object.keys(node).length > 0) node['.'] = {};
  }
  return root;
}

/** Members of either. */
export function union(left: FieldSet, right: FieldSet): FieldSet {
  return setOfMembers([...membersOf(left), ...membersOf(right)]);
}

/** Members of `set` for which the predicate holds. */
export function filterMembers(set: FieldSet, keep: (path: FieldPath) => boolean): FieldSet {
  return setOfMembers([...membersOf(set)].filter(keep));
}

/** The value at a path; `found` is false where there is nothing. */
export function valueAt(
  schema: Schema | undefined,
  root: unknown,
  path: FieldPath,
): { found: boolean; value?: unknown } {
  let value = root;
  let current = schema;
  for (const segment of path) {
    const part = partsOf(current, value)?.find((candidate) => candidate.segment === segment);
    if (part === undefined) return { found: false };
    value = part.value;
    current = part.schema;
  }
  return { found: true, value };
}

/** Fields that differ between two values: set or changed in the second, and gone from it. */
export function compare(
  schema: Schema | undefined,
  before: unknown,
  after: unknown,
): { changed: FieldPath[]; removed: FieldPath[] } {
  const changed: FieldPath[] = [];
  const removed: FieldPath[] = [];
  walk(schema, before, after, []);
  return { changed, removed };

  function walk(partSchema: Schema | undefined, left: unknown, right: unknown, path: FieldPath): void {
    if (left === right) return;
    const leftParts = partsOf(partSchema, left);
    const rightParts = partsOf(partSchema, right);
    if (leftParts === undefined || rightParts === undefined) {
      if (!isDeepStrictEqual(left, right)) changed.push(...below(partSchema, right, path));
      return;
    }
    const before = new Map(leftParts.map((part) => [part.segment, part]));
    for (const { segment, schema: inner, value } of rightParts) {
      const old = before.get(segment);
      before.delete(segment);
      if (old === undefined) changed.push(...below(inner, value, [...path, segment]));
      else walk(inner, old.value, value, [...path, segment]);
    }
    for (const [segment, part] of before) removed.push(...below(part.schema, part.value, [...path, segment]));
  }
}

function below(schema: Schema | undefined, value: unknown, path: FieldPath): FieldPath[] {
  const isElement = path.at(-1)?.startsWith('k:') === true;
  const inner = [...membersOf(fieldsOf(schema, value), path)];
  return isElement ? [path, ...inner] : inner;
}
