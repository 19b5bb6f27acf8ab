import type { Schema } from './schema.ts';

/**
 * A copy of the value with what the schema doesn't know left out (their paths go to `unknownFields`), nulls left out, and defaults filled
 * in. Values of a wrong type are kept for validation to name.
 */
export function normalise(schema: Schema, value: unknown, unknownFields: string[], path = ''): unknown {
  if (Array.isArray(value)) {
    const items = schema.items;
    if (items === undefined) return structuredClone(value);
    return value.map((item, index) => normalise(items, item, unknownFields, `${path}[${index}]`));
  }
  if (typeof value !== 'object' || value === null) return value;
  const result: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(value)) {
    const partSchema = propertyOf(schema, name);
    const partPath = path === '' ? name : `${path}.${name}`;
    if (partSchema === undefined) {
      if (schema['x-kubernetes-preserve-unknown-fields'] || schema.type !== 'object')
        define(result, name, structuredClone(part));
      else unknownFields.push(partPath);
    } else if (part !== null && part !== undefined)
      define(result, name, normalise(partSchema, part, unknownFields, partPath));
  }
  for (const [name, partSchema] of Object.entries(schema.properties ?? {}))
    if (partSchema.default !== undefined && result[name] === undefined)
      result[name] = normalise(partSchema, structuredClone(partSchema.default), unknownFields, path);
  return result;
}

/** Schema of one property of an object, also of a map; undefined when there is none. */
export function propertyOf(schema: Schema, name: string): Schema | undefined {
  const properties = schema.properties;
  if (properties !== undefined && Object.hasOwn(properties, name)) return properties[name];
  return schema.additionalProperties;
}

/** Sets also the name `__proto__`, which a plain assignment would take as the prototype. */
function define(target: Record<string, unknown>, name: string, value: unknown): void {
  if (name === '__proto__')
    Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
  else target[name] = value;
}
