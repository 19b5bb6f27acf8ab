import { isDeepStrictEqual } from 'node:util';
import { failure } from '../errors.ts';
import { isPlainObject } from './merge-patch.ts';

interface Operation {
  op: string;
  path: string;
  from?: string;
  value?: unknown;
}

/** More operations than this are refused, as the real API server does. */
const LONGEST_PATCH = 10_000;
/** Bytes that all copies of a patch may add, also as there: a few operations could double a document forty times. */
const LARGEST_COPIES_BYTES = 3 * 1024 * 1024;

/**
 * Applies a JSON patch (RFC 6902) to a copy of the document. @throws ApiError BadRequest for a malformed patch, Invalid (422) when an
 * operation or test fails, RequestEntityTooLarge for too many operations
 */
export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch))
    throw failure(400, 'BadRequest', 'error decoding patch: a JSON patch is a list of operations');
  if (patch.length > LONGEST_PATCH)
    throw failure(
      413,
      'RequestEntityTooLarge',
      `The allowed maximum operations in a JSON patch is ${LONGEST_PATCH}, got ${patch.length}`,
    );
  let result = structuredClone(document);
  let copiedBytes = 0;
  for (const operation of patch) {
    const checked = check(operation);
    if (checked.op === 'copy') {
      copiedBytes += JSON.stringify(read(result, checked.from as string, 'copy')).length;
      if (copiedBytes > LARGEST_COPIES_BYTES)
        throw unprocessable(
          `unable to complete the copy, the accumulated size increase of copy is ${copiedBytes}, exceeding the limit ${LARGEST_COPIES_BYTES}`,
        );
    }
    result = apply(result, checked);
  }
  return result;
}

function check(operation: unknown): Operation {
  const { op, path, from } = isPlainObject(operation) ? operation : {};
  if (typeof op !== 'string' || typeof path !== 'string')
    throw failure(
      400,
      'BadRequest',
      `error decoding patch: an operation needs "op" and "path": ${JSON.stringify(operation)}`,
    );
  if ((op === 'move' || op === 'copy') && typeof from !== 'string')
    throw failure(400, 'BadRequest', `error decoding patch: "${op}" needs "from"`);
  return operation as Operation;
}

function apply(document: unknown, { op, path, from, value }: Operation): unknown {
  switch (op) {
    case 'add':
      return add(document, path, structuredClone(value ?? null));
    case 'remove':
      return remove(document, path);
    case 'replace':
      // A missing member is added, which RFC 6902 forbids but the real API server does.
      return path === '' ? structuredClone(value) : set(document, path, structuredClone(value ?? null));
    case 'move': {
      if (path.startsWith(`${from}/`)) throw unprocessable(`${op} operation cannot move ${from} into itself`);
      const moved = read(document, from as string, op);
      return add(remove(document, from as string), path, moved);
    }
    case 'copy':
      return add(document, path, structuredClone(read(document, from as string, op)));
    case 'test':
      if (!isDeepStrictEqual(read(document, path, op), value)) throw unprocessable(`testing value ${path} failed`);
      return document;
    default:
      throw failure(400, 'BadRequest', `error decoding patch: unexpected kind: ${op}`);
  }
}

function tokens(path: string): string[] {
  if (path === '') return [];
  if (!path.startsWith('/')) throw unprocessable(`JSON pointer ${JSON.stringify(path)} must start with "/"`);
  return path
    .slice(1)
    .split('/')
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function read(document: unknown, path: string, op: string): unknown {
  let found = document;
  for (const token of tokens(path)) {
    const exists = Array.isArray(found)
      ? indexOf(token, found.length - 1, path) !== undefined
      : isPlainObject(found) && Object.hasOwn(found, token);
    if (!exists) throw missing(op, path);
    found = (found as Record<string, unknown>)[token];
  }
  return found;
}

function parentOf(document: unknown, path: string, op: string): { parent: unknown; last: string } {
  const parts = tokens(path);
  const last = parts.pop() ?? '';
  const parentPath = path.slice(0, path.lastIndexOf('/'));
  const parent = read(document, parentPath, op);
  if (typeof parent !== 'object' || parent === null) throw missing(op, path);
  return { parent, last };
}

function add(document: unknown, path: string, value: unknown): unknown {
  if (path === '') return value;
  const { parent, last } = parentOf(document, path, 'add');
  if (Array.isArray(parent)) {
    const index = last === '-' ? parent.length : indexOf(last, parent.length, path);
    if (index === undefined) throw missing('add', path);
    parent.splice(index, 0, value);
  } else define(parent as Record<string, unknown>, last, value);
  return document;
}

function set(document: unknown, path: string, value: unknown): unknown {
  const { parent, last } = parentOf(document, path, 'replace');
  if (Array.isArray(parent) && indexOf(last, parent.length - 1, path) === undefined) throw missing('replace', path);
  define(parent as Record<string, unknown>, last, value);
  return document;
}

function remove(document: unknown, path: string): unknown {
  read(document, path, 'remove');
  if (path === '') return null;
  const { parent, last } = parentOf(document, path, 'remove');
  if (Array.isArray(parent)) parent.splice(Number(last), 1);
  else delete (parent as Record<string, unknown>)[last];
  return document;
}

function define(target: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}

function indexOf(token: string, largest: number, path: string): number | undefined {
  if (!/^(0|[1-9]\d*)$/.test(token)) throw unprocessable(`${JSON.stringify(token)} in ${path} is no index of a list`);
  const index = Number(token);
  return index <= largest ? index : undefined;
}

function missing(op: string, path: string): Error {
  return unprocessable(`${op} operation does not apply: doc is missing path: ${JSON.stringify(path)}: missing value`);
}

function unprocessable(why: string): Error {
  return failure(422, 'Invalid', `the server rejected our request due to an error in our request: ${why}`, {});
}
