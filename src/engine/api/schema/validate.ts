import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { LABEL, LABEL_WORDS } from '../names.ts';
import type { Schema } from './schema.ts';

/** One thing wrong with one field, as a `Status` cause: `field` in Kubernetes' spelling, `spec.containers[0].name`. */
export interface FieldError {
  field: string;
  reason:
    | 'FieldValueRequired'
    | 'FieldValueInvalid'
    | 'FieldValueNotSupported'
    | 'FieldValueForbidden'
    | 'FieldValueDuplicate'
    | 'FieldValueNotFound'
    | 'FieldValueTooLong'
    | 'FieldValueTooMany'
    | 'FieldValueTypeInvalid';
  message: string;
}

/** Finds what is wrong with a normalised value. */
export type Validator = (value: unknown) => FieldError[];

/** A validator of a schema, compiled when it is first asked: most engines see few of the kinds, and an engine's start waits for none. */
export function compileSchema(schema: Schema): Validator {
  let check: ValidateFunction | undefined;
  return (value) => {
    check ??= compile(schema);
    return check(value) ? [] : deduplicate((check.errors ?? []).map(fieldError));
  };
}

function compile(schema: Schema): ValidateFunction {
  // Ajv's optimiser takes as long again as the rest of a compilation, and gains validators of this size nothing.
  const code = { optimize: false };
  const ajv = new Ajv({ allErrors: true, strict: false, verbose: true, validateFormats: true, code });
  ajv.addFormat(
    'date-time',
    (text: string) =>
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(text) && !Number.isNaN(Date.parse(text)),
  );
  ajv.addFormat('byte', /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/);
  for (const format of ['int32', 'int64', 'double', 'float']) ajv.addFormat(format, true);
  ajv.addFormat('ip', /^[0-9a-fA-F.:]+$/);
  return ajv.compile(toJsonSchema(schema) as object);
}

/** The same schema in plain JSON Schema: `x-kubernetes-int-or-string` spelled out; documentation and defaults left out. */
function toJsonSchema(schema: Schema): Record<string, unknown> {
  const { properties, items, additionalProperties, description: _, default: __, ...rest } = schema;
  return {
    ...rest,
    ...(schema['x-kubernetes-int-or-string'] ? { type: ['integer', 'string'] } : {}),
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(Object.entries(properties).map(([name, part]) => [name, toJsonSchema(part)])),
        }),
    ...(items === undefined ? {} : { items: toJsonSchema(items) }),
    ...(additionalProperties === undefined ? {} : { additionalProperties: toJsonSchema(additionalProperties) }),
  };
}

function fieldError(error: ErrorObject): FieldError {
  const parent = fieldPath(error.instancePath, error.data);
  const value = JSON.stringify(shorten(error.data));
  switch (error.keyword) {
    case 'required': {
      const name = String(error.params.missingProperty);
      return {
        field: parent === '' ? name : `${parent}.${name}`,
        reason: 'FieldValueRequired',
        message: 'Required value',
      };
    }
    case 'enum': {
      const words = (error.params.allowedValues as string[]).map((word) => JSON.stringify(word)).join(', ');
      return {
        field: parent,
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${value}: supported values: ${words}`,
      };
    }
    case 'minItems':
    case 'minLength':
      if (error.params.limit === 1) return { field: parent, reason: 'FieldValueRequired', message: 'Required value' };
      break;
    case 'type': {
      const wanted = Array.isArray(error.params.type) ? error.params.type.join(' or ') : error.params.type;
      const found = JSON.stringify(typeName(error.data));
      return {
        field: parent,
        reason: 'FieldValueTypeInvalid',
        message: `Invalid value: ${found}: ${parent} in body must be of type ${wanted}: ${found}`,
      };
    }
    case 'maxItems': {
      const found = (error.data as unknown[]).length;
      return {
        field: parent,
        reason: 'FieldValueTooMany',
        message: `Too many: ${found}: must have at most ${error.params.limit} items`,
      };
    }
    case 'maxLength':
      return {
        field: parent,
        reason: 'FieldValueTooLong',
        message: `Too long: may not be more than ${error.params.limit} bytes`,
      };
    case 'pattern':
      if (error.params.pattern === LABEL.source) return invalid(parent, value, LABEL_WORDS);
      return invalid(parent, value, `${parent} in body should match '${error.params.pattern}'`);
    case 'minimum':
      if (isPort(error)) return invalid(parent, value, 'must be between 1 and 65535, inclusive');
      return invalid(parent, value, `${parent} in body should be greater than or equal to ${error.params.limit}`);
    case 'maximum':
      if (isPort(error)) return invalid(parent, value, 'must be between 1 and 65535, inclusive');
      return invalid(parent, value, `${parent} in body should be less than or equal to ${error.params.limit}`);
    case 'format': {
      const message = `Invalid value: ${value}: ${parent} in body must be of type ${error.params.format}: ${value}`;
      return { field: parent, reason: 'FieldValueTypeInvalid', message };
    }
  }
  return invalid(parent, value, `${parent} in body ${error.message ?? 'is invalid'}`);
}

function isPort({ parentSchema }: ErrorObject): boolean {
  return parentSchema?.minimum === 1 && parentSchema.maximum === 65535;
}

function invalid(field: string, value: string, detail: string): FieldError {
  return { field, reason: 'FieldValueInvalid', message: `Invalid value: ${value}: ${detail}` };
}

/** `/spec/containers/0/name` as `spec.containers[0].name`; keys of maps that are no plain words go in brackets. */
function fieldPath(pointer: string, _data: unknown): string {
  let path = '';
  for (const raw of pointer.split('/').slice(1)) {
    const part = raw.replaceAll('~1', '/').replaceAll('~0', '~');
    if (/^\d+$/.test(part)) path += `[${part}]`;
    else if (/^[A-Za-z0-9_]+$/.test(part)) path += path === '' ? part : `.${part}`;
    else path += `[${part}]`;
  }
  return path;
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return Number.isInteger(value) ? 'integer' : typeof value;
}

function shorten(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? typeName(value) : value;
}

function deduplicate(errors: FieldError[]): FieldError[] {
  const seen = new Set<string>();
  return errors.filter(({ field, message }) => {
    const key = `${field} ${message}`;
    return seen.has(key) ? false : seen.add(key);
  });
}
