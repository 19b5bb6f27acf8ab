/**
 * A structural schema in the vocabulary of Kubernetes CRDs and OpenAPI v3. One schema validates, prunes, defaults, tells lists that
 * merge from lists that are replaced, and documents the kind for `kubectl explain`.
 */
export interface Schema {
  type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  description?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  required?: string[];
  items?: Schema;
  default?: unknown;
  enum?: readonly string[];
  format?: string;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  'x-kubernetes-list-type'?: 'map' | 'set' | 'atomic';
  'x-kubernetes-list-map-keys'?: string[];
  'x-kubernetes-map-type'?: 'atomic';
  'x-kubernetes-int-or-string'?: true;
  'x-kubernetes-preserve-unknown-fields'?: true;
}

/** A property that an object must have; see {@link required}. */
interface Required {
  required: Schema;
}

type Properties = Record<string, Schema | Required>;
type Extra = Omit<Schema, 'type' | 'description'>;

/** Marks a property of {@link object} as required. */
export function required(schema: Schema): Required {
  return { required: schema };
}

/** An object with these properties and no others. */
export function object(description: string, properties: Properties, extra: Extra = {}): Schema {
  const names = Object.keys(properties).filter((name) => isRequired(properties[name]));
  return {
    type: 'object',
    description,
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, value]) => [name, isRequired(value) ? value.required : value]),
    ),
    ...(names.length > 0 ? { required: names } : {}),
    ...extra,
  };
}

/** An object whose content is not looked into. */
export function anyObject(description: string): Schema {
  return { type: 'object', description, 'x-kubernetes-preserve-unknown-fields': true };
}

/** An object with a name whose further content is not looked into. */
export function namedObject(description: string): Schema {
  return object(description, { name: required(string('Its name.')) }, { 'x-kubernetes-preserve-unknown-fields': true });
}

/** Text. */
export function string(description: string, extra: Extra = {}): Schema {
  return { type: 'string', description, ...extra };
}

/** One of the given words. */
export function choice(description: string, words: readonly string[], defaultWord?: string): Schema {
  return { type: 'string', description, enum: words, ...(defaultWord === undefined ? {} : { default: defaultWord }) };
}

/** A whole number. */
export function integer(description: string, extra: Extra = {}): Schema {
  return { type: 'integer', description, format: 'int32', ...extra };
}

/** True or false. */
export function boolean(description: string, extra: Extra = {}): Schema {
  return { type: 'boolean', description, ...extra };
}

/** An RFC 3339 time. */
export function time(description: string): Schema {
  return { type: 'string', format: 'date-time', description };
}

/** A port: a number or the name of one. */
export function intOrString(description: string): Schema {
  return { description, 'x-kubernetes-int-or-string': true };
}

/** An amount such as `500m` or `1Gi`. */
export function quantity(description: string): Schema {
  return {
    description,
    'x-kubernetes-int-or-string': true,
    pattern: '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$',
  };
}

/** A map with string keys. */
export function mapOf(description: string, values: Schema, extra: Extra = {}): Schema {
  return { type: 'object', description, additionalProperties: values, ...extra };
}

/** Strings by string: labels, annotations. */
export function stringMap(description: string, extra: Extra = {}): Schema {
  return mapOf(description, { type: 'string' }, extra);
}

/** A list that is replaced as a whole. */
export function list(description: string, items: Schema, extra: Extra = {}): Schema {
  return { type: 'array', description, items, 'x-kubernetes-list-type': 'atomic', ...extra };
}

/** A list of objects that are told apart by these properties and merge one by one. */
export function listBy(keys: string[], description: string, items: Schema, extra: Extra = {}): Schema {
  return {
    type: 'array',
    description,
    items,
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': keys,
    ...extra,
  };
}

/** A list of different words that merge one by one. */
export function setOf(description: string, items: Schema, extra: Extra = {}): Schema {
  return { type: 'array', description, items, 'x-kubernetes-list-type': 'set', ...extra };
}

function isRequired(value: Schema | Required | undefined): value is Required {
  return typeof value === 'object' && 'required' in value && !Array.isArray(value.required);
}
