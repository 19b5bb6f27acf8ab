import { isDeepStrictEqual } from 'node:util';
import { failure } from '../errors.ts';
import type { ApiObject } from '../object.ts';
import { isPlainObject } from '../patch/merge-patch.ts';
import type { Schema } from '../schema/schema.ts';
import {
  type FieldPath,
  fieldsOf,
  filterMembers,
  hasAnyBelow,
  hasMember,
  membersOf,
  partsOf,
  valueAt,
} from './field-set.ts';
import {
  entry,
  hasFields,
  isEntryOf,
  type ManagedEntry,
  managedEntries,
  ownable,
  type Writer,
  without,
} from './managed-fields.ts';

/**
 * Server-side apply: the live object with the applier's configuration merged in, without the fields that it applied before and doesn't
 * any more (unless others own them too), and with the new managedFields.
 * @throws ApiError Conflict naming manager and field for every field that another manager set to another value, unless `force`
 */
export function applyConfiguration(
  schema: Schema,
  live: ApiObject | undefined,
  configuration: ApiObject,
  writer: Writer,
  force: boolean,
): ApiObject {
  const wanted = ownable(configuration);
  const wantedFields = fieldsOf(schema, wanted);
  const entries = managedEntries(live);
  const own = entries.find((candidate) => isEntryOf(candidate, writer, 'Apply'));
  const others = entries.filter((candidate) => candidate !== own);
  const base = live === undefined ? {} : ownable(live);

  const differs = (path: FieldPath) => {
    const now = valueAt(schema, base, path);
    return (
      !now.found ||
      !(path.at(-1)?.startsWith('k:') || isDeepStrictEqual(now.value, valueAt(schema, wanted, path).value))
    );
  };
  const contested = new Set<string>();
  const conflicts = others.flatMap((other) =>
    [...membersOf(wantedFields)]
      .filter((path) => hasMember(other.fieldsV1, path) && differs(path))
      .map((path) => {
        contested.add(path.join('\0'));
        return { other, path };
      }),
  );
  if (conflicts.length > 0 && !force) throw conflictError(conflicts);
  const yielded = others.map((other) => without(other, (path) => contested.has(path.join('\0')))).filter(hasFields);

  let merged = merge(schema, base, wanted) as Record<string, unknown>;
  const given = filterMembers(own?.fieldsV1 ?? {}, (path) => !hasAnyBelow(wantedFields, path));
  const gone = [...membersOf(given)].sort((left, right) => right.length - left.length);
  for (const path of gone)
    if (!yielded.some((other) => hasAnyBelow(other.fieldsV1, path)))
      merged = (removeAt(schema, merged, path) ?? {}) as Record<string, unknown>;

  const managedFields = [...yielded, entry(writer, 'Apply', wantedFields, own)];
  return {
    ...merged,
    apiVersion: configuration.apiVersion,
    kind: configuration.kind,
    metadata: {
      ...serverMetadata(live ?? configuration),
      ...(merged.metadata as object | undefined),
      managedFields,
    },
  } as ApiObject;
}

/** The parts of metadata that {@link ownable} leaves out. */
function serverMetadata(object: ApiObject): ApiObject['metadata'] {
  const owned = (ownable(object).metadata ?? {}) as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(object.metadata).filter(([name]) => !(name in owned)),
  ) as unknown as ApiObject['metadata'];
}

/** Merges as the schema says: objects by property, keyed lists by element, sets by value; anything else is replaced. */
function merge(schema: Schema | undefined, live: unknown, wanted: unknown): unknown {
  const liveParts = partsOf(schema, live);
  const wantedParts = partsOf(schema, wanted);
  if (liveParts === undefined || wantedParts === undefined) return wanted;
  if (isPlainObject(wanted)) {
    const result: Record<string, unknown> = { ...(live as object) };
    for (const { segment, schema: inner, value } of wantedParts) {
      const name = segment.slice(2);
      result[name] = name in result ? merge(inner, result[name], value) : value;
    }
    return result;
  }
  const bySegment = new Map(liveParts.map((part) => [part.segment, part]));
  for (const part of wantedParts) {
    const old = bySegment.get(part.segment);
    bySegment.set(
      part.segment,
      old === undefined ? part : { ...part, value: merge(part.schema, old.value, part.value) },
    );
  }
  return [...bySegment.values()].map((part) => part.value);
}

/** A copy without what is at the path; containers that are empty then go too (undefined: the whole). */
function removeAt(schema: Schema | undefined, value: unknown, [segment, ...rest]: FieldPath): unknown {
  if (segment === undefined) return undefined;
  const parts = partsOf(schema, value);
  if (parts === undefined) return value;
  const kept = parts.flatMap((part) => {
    if (part.segment !== segment) return [part];
    const inner = removeAt(part.schema, part.value, rest);
    return inner === undefined ? [] : [{ ...part, value: inner }];
  });
  if (kept.length === 0) return undefined;
  return Array.isArray(value)
    ? kept.map((part) => part.value)
    : Object.fromEntries(kept.map((part) => [part.segment.slice(2), part.value]));
}

function conflictError(conflicts: { other: ManagedEntry; path: FieldPath }[]): Error {
  const causes = conflicts.map(({ other, path }) => ({
    reason: 'FieldManagerConflict',
    message: `conflict with ${describe(other)}`,
    field: path.map(segmentText).join(''),
  }));
  const count = `${causes.length} ${causes.length === 1 ? 'conflict' : 'conflicts'}`;
  const which = causes.length === 1 ? ` ${causes[0]?.message}: ${causes[0]?.field}` : groupByManager(conflicts);
  const message = `Apply failed with ${count}:${which}`;
  return failure(409, 'Conflict', message, { causes });
}

function describe({ manager, subresource, apiVersion, operation }: ManagedEntry): string {
  const through = subresource === undefined ? '' : ` with subresource "${subresource}"`;
  return `"${manager}"${through}${operation === 'Update' ? ` using ${apiVersion}` : ''}`;
}

function groupByManager(conflicts: { other: ManagedEntry; path: FieldPath }[]): string {
  const groups = Object.groupBy(conflicts, ({ other }) => describe(other));
  return Object.entries(groups)
    .map(
      ([who, list]) =>
        ` conflicts with ${who}:\n${(list ?? []).map(({ path }) => `- ${path.map(segmentText).join('')}`).join('\n')}`,
    )
    .join('\n');
}

/** `.spec.containers[name="main"].image`. */
function segmentText(segment: string): string {
  const rest = segment.slice(2);
  if (segment.startsWith('f:')) return `.${rest}`;
  if (segment.startsWith('v:')) return `[=${rest}]`;
  const keys = Object.entries(JSON.parse(rest) as Record<string, unknown>);
  return `[${keys.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(',')}]`;
}
