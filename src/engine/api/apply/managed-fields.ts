import { isDeepStrictEqual } from 'node:util';
import type { ApiObject } from '../object.ts';
import type { Schema } from '../schema/schema.ts';
import {
  compare,
  type FieldPath,
  type FieldSet,
  filterMembers,
  hasMember,
  membersOf,
  setOfMembers,
  union,
  valueAt,
} from './field-set.ts';

/** One entry of metadata.managedFields. */
export interface ManagedEntry {
  manager: string;
  operation: 'Apply' | 'Update';
  apiVersion: string;
  time?: string;
  fieldsType: 'FieldsV1';
  fieldsV1: FieldSet;
  subresource?: string;
}

/** Who writes, when and through which subresource. */
export interface Writer {
  manager: string;
  apiVersion: string;
  time: string;
  subresource?: string;
}

/** Metadata that the server keeps: nobody owns it. */
const SERVER_METADATA = new Set([
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'generateName',
  'selfLink',
  'managedFields',
]);

/** The object less what nobody owns. */
export function ownable(object: ApiObject): Record<string, unknown> {
  const { apiVersion: _, kind: __, metadata, ...rest } = object;
  const kept = Object.entries(metadata).filter(([name]) => !SERVER_METADATA.has(name));
  return kept.length === 0 ? rest : { metadata: Object.fromEntries(kept), ...rest };
}

/** The well-formed entries of an object. */
export function managedEntries(object: ApiObject | undefined): ManagedEntry[] {
  const entries = object?.metadata.managedFields;
  if (!Array.isArray(entries)) return [];
  return entries.filter(
    (entry): entry is ManagedEntry =>
      typeof entry === 'object' && entry !== null && 'manager' in entry && 'fieldsV1' in entry && 'operation' in entry,
  );
}

/** True if the entry belongs to that writer and operation. */
export function isEntryOf(entry: ManagedEntry, writer: Writer, operation: ManagedEntry['operation']): boolean {
  return (
    entry.manager === writer.manager &&
    entry.operation === operation &&
    (entry.subresource ?? '') === (writer.subresource ?? '')
  );
}

/** Entries after an update: the writer owns what it changed, nobody owns what it removed, and others lose what it changed. */
export function entriesAfterUpdate(
  schema: Schema,
  entries: ManagedEntry[],
  before: ApiObject | undefined,
  after: ApiObject,
  writer: Writer,
): ManagedEntry[] {
  const next = ownable(after);
  const { changed, removed } = compare(schema, before === undefined ? {} : ownable(before), next);
  if (changed.length === 0 && removed.length === 0) return entries;
  const touched = setOfMembers([...changed, ...removed]);
  const own = entries.find((entry) => isEntryOf(entry, writer, 'Update'));
  const others = entries
    .filter((entry) => entry !== own)
    .map((entry) => without(entry, (path) => hasMember(touched, path)))
    .filter(hasFields);
  const exists = (path: FieldPath) => valueAt(schema, next, path).found;
  const fields = filterMembers(union(own?.fieldsV1 ?? {}, setOfMembers(changed)), exists);
  const result = Object.keys(fields).length === 0 ? others : [...others, entry(writer, 'Update', fields, own)];
  return result;
}

/** An entry with these fields; its time moves only when they change. */
export function entry(
  writer: Writer,
  operation: ManagedEntry['operation'],
  fields: FieldSet,
  previous: ManagedEntry | undefined,
): ManagedEntry {
  if (previous !== undefined && isDeepStrictEqual(previous.fieldsV1, fields)) return previous;
  return {
    manager: writer.manager,
    operation,
    apiVersion: writer.apiVersion,
    time: writer.time,
    fieldsType: 'FieldsV1',
    fieldsV1: fields,
    ...(writer.subresource === undefined ? {} : { subresource: writer.subresource }),
  };
}

/** The entry less the members for which the predicate holds. */
export function without(managed: ManagedEntry, drop: (path: FieldPath) => boolean): ManagedEntry {
  const fieldsV1 = filterMembers(managed.fieldsV1, (path) => !drop(path));
  return isDeepStrictEqual(fieldsV1, managed.fieldsV1) ? managed : { ...managed, fieldsV1 };
}

/** True if the entry still owns something. */
export function hasFields(managed: ManagedEntry): boolean {
  return !membersOf(managed.fieldsV1).next().done;
}
