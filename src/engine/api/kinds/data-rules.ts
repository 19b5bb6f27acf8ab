import { isDeepStrictEqual } from 'node:util';
import { type ApiObject, at } from '../object.ts';
import type { FieldError } from '../schema/validate.ts';

const LARGEST_DATA_BYTES = 1024 * 1024;

/** What is wrong with the keys and values of a ConfigMap or Secret. */
export function dataErrors(next: ApiObject, previous: ApiObject | undefined, fields: string[]): FieldError[] {
  const errors: FieldError[] = [];
  let sizeBytes = 0;
  for (const field of fields)
    for (const [key, value] of Object.entries((at(next, field) ?? {}) as Record<string, string>)) {
      sizeBytes += Buffer.byteLength(value);
      if (!/^[-._a-zA-Z0-9]+$/.test(key) || key.length > 253 || key === '.' || key.startsWith('..'))
        errors.push({
          field: `${field}[${key}]`,
          reason: 'FieldValueInvalid',
          message: `Invalid value: ${JSON.stringify(key)}: a valid config key must consist of alphanumeric characters, '-', '_' or '.'`,
        });
    }
  if (sizeBytes > LARGEST_DATA_BYTES)
    errors.push({
      field: fields[0] ?? 'data',
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${LARGEST_DATA_BYTES} bytes`,
    });
  if (previous?.immutable === true)
    for (const field of [...fields, 'immutable'])
      if (!isDeepStrictEqual(next[field], previous[field]))
        errors.push({
          field,
          reason: 'FieldValueForbidden',
          message: 'Forbidden: field is immutable when `immutable` is set',
        });
  return errors;
}
