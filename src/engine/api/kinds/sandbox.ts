import { isDeepStrictEqual } from 'node:util';
import { at } from '../object.ts';
import { conditions, rootSchema } from '../schema/metadata.ts';
import { podTemplate } from '../schema/pod-spec.ts';
import { boolean, choice, list, object, required, string, time } from '../schema/schema.ts';
import { volumeClaimTemplates } from '../schema/volumes.ts';
import { ageColumn, conditionColumn, nameColumn } from './columns.ts';
import type { Kind } from './kind.ts';
import { podTemplateErrors } from './pod-rules.ts';

/** agents.x-k8s.io Sandbox (contract section 1.1). */
export const sandbox: Kind = {
  group: 'agents.x-k8s.io',
  plural: 'sandboxes',
  singular: 'sandbox',
  kind: 'Sandbox',
  shortNames: ['sandbox'],
  namespaced: true,
  builtIn: false,
  status: true,
  versions: [
    {
      version: 'v1beta1',
      schema: rootSchema('A sandbox: one Pod with a stable name that can be suspended and resumed.', {
        spec: required(
          object('The sandbox as it is to be.', {
            podTemplate: required(podTemplate),
            volumeClaimTemplates,
            service: boolean('Whether a headless Service is made; absent keeps one there is.'),
            shutdownTime: time('When the sandbox expires.'),
            shutdownPolicy: choice('What becomes of the object then.', ['Delete', 'Retain'], 'Retain'),
            operatingMode: choice('Whether the sandbox runs.', ['Running', 'Suspended'], 'Running'),
          }),
        ),
        status: object('The sandbox as it is.', {
          serviceFQDN: string('Full name of the Service.'),
          service: string('Name of the Service.'),
          conditions,
          selector: string("Selects the sandbox's Pod."),
          podIPs: list('Addresses of the Pod.', { type: 'string' }),
          nodeName: string('Node of the Pod.'),
        }),
      }),
      columns: [
        nameColumn,
        conditionColumn('Ready', 'Ready', 'status', 'Whether the sandbox serves.'),
        conditionColumn('Reason', 'Ready', 'reason', 'Why.'),
        ageColumn,
      ],
    },
  ],
  validate(next, previous) {
    const errors = podTemplateErrors(next, ['spec', 'podTemplate']);
    const claims = (value: unknown) => at(value, 'spec', 'volumeClaimTemplates');
    if (previous !== undefined && !isDeepStrictEqual(claims(next), claims(previous)))
      errors.push({
        field: 'spec',
        reason: 'FieldValueInvalid',
        message: 'Invalid value: "object": volumeClaimTemplates is immutable',
      });
    return errors;
  },
};
