import { type ApiObject, at, text } from '../object.ts';
import { rootSchema } from '../schema/metadata.ts';
import { boolean, mapOf, string, stringMap } from '../schema/schema.ts';
import type { FieldError } from '../schema/validate.ts';
import { ageColumn, fieldColumn, nameColumn } from './columns.ts';
import { dataErrors } from './data-rules.ts';
import type { Kind } from './kind.ts';

const DOCKER_CONFIG_KEYS: Readonly<Record<string, string>> = {
  'kubernetes.io/dockerconfigjson': '.dockerconfigjson',
  'kubernetes.io/dockercfg': '.dockercfg',
};

/** v1 Secret. `stringData` is taken in as `data`. */
export const secret: Kind = {
  group: '',
  plural: 'secrets',
  singular: 'secret',
  kind: 'Secret',
  namespaced: true,
  builtIn: true,
  status: false,
  versions: [
    {
      version: 'v1',
      schema: rootSchema('Secret values.', {
        data: mapOf('Values as base64.', { type: 'string', format: 'byte' }),
        stringData: stringMap('Values as text; write only.'),
        type: string('What the values are for.', { default: 'Opaque' }),
        immutable: boolean('Whether the data can never change.'),
      }),
      columns: [
        nameColumn,
        fieldColumn('Type', ['type'], 'What the values are for.'),
        {
          name: 'Data',
          description: 'Number of keys.',
          value: (object) => Object.keys(at(object, 'data') ?? {}).length,
        },
        ageColumn,
      ],
    },
  ],
  selectableFields: { type: (object) => text(object, 'type') },
  prepare(draft) {
    const { stringData } = draft;
    if (typeof stringData !== 'object' || stringData === null) return;
    const encoded = Object.entries(stringData).map(([key, value]) => [
      key,
      Buffer.from(String(value)).toString('base64'),
    ]);
    draft.data = { ...(draft.data as object | undefined), ...Object.fromEntries(encoded) };
    delete draft.stringData;
  },
  validate(next, previous) {
    const errors = [...dataErrors(next, previous, ['data']), ...registryCredentialErrors(next)];
    if (previous !== undefined && next.type !== previous.type)
      errors.push({
        field: 'type',
        reason: 'FieldValueInvalid',
        message: `Invalid value: ${JSON.stringify(next.type)}: field is immutable`,
      });
    return errors;
  },
};

/** Registries' credentials are a JSON object under a certain key (pkg/apis/core/validation, ValidateSecret). */
function registryCredentialErrors(secret: ApiObject): FieldError[] {
  const key = DOCKER_CONFIG_KEYS[text(secret, 'type')];
  if (key === undefined) return [];
  const field = `data[${key}]`;
  const value = at(secret, 'data', key);
  if (typeof value !== 'string') return [{ field, reason: 'FieldValueRequired', message: 'Required value' }];
  try {
    const parsed: unknown = JSON.parse(Buffer.from(value, 'base64').toString());
    if (typeof parsed === 'object' && parsed !== null) return [];
  } catch {
    // Told below, without a part of the content: it is a secret.
  }
  return [
    {
      field,
      reason: 'FieldValueInvalid',
      message: 'Invalid value: "<secret contents redacted>": must be a JSON object',
    },
  ];
}
