import { isDeepStrictEqual } from 'node:util';
import { type ApiObject, at, items } from '../object.ts';
import { conditions, rootSchema } from '../schema/metadata.ts';
import { podTemplate } from '../schema/pod-spec.ts';
import { boolean, choice, integer, list, object, required, type Schema, string, time } from '../schema/schema.ts';
import type { FieldError } from '../schema/validate.ts';
import { volumeClaimTemplates } from '../schema/volumes.ts';
import { ageColumn, conditionColumn, nameColumn } from './columns.ts';
import type { Kind, KindVersion } from './kind.ts';
import { podTemplateErrors } from './pod-rules/index.ts';

const DESCRIPTION = 'A sandbox: one Pod with a stable name that can be suspended and resumed.';

/** Fields of the spec that all versions have, beside the Pod's template and what says whether it runs. */
const sharedSpec = {
  volumeClaimTemplates,
  service: boolean('Whether a headless Service is made; absent keeps one there is.'),
  shutdownTime: time('When the sandbox expires.'),
  shutdownPolicy: choice('What becomes of the object then.', ['Delete', 'Retain'], 'Retain'),
};
const operatingMode = choice('Whether the sandbox runs.', ['Running', 'Suspended'], 'Running');
const sharedStatus = {
  serviceFQDN: string('Full name of the Service.'),
  service: string('Name of the Service.'),
  conditions,
  selector: string("Selects the sandbox's Pod."),
  podIPs: list('Addresses of the Pod.', { type: 'string' }),
};
const nodeName = string('Node of the Pod.');

const columns = [
  nameColumn,
  conditionColumn('Ready', 'Ready', 'status', 'Whether the sandbox serves.'),
  conditionColumn('Reason', 'Ready', 'reason', 'Why.'),
  ageColumn,
];

/** v1alpha1 (contract section 1.1): `replicas` 0 or 1 where v1beta1 has `operatingMode`. */
const v1alpha1: KindVersion = {
  version: 'v1alpha1',
  deprecationWarning: 'agents.x-k8s.io/v1alpha1 Sandbox is deprecated; use agents.x-k8s.io/v1beta1 Sandbox instead',
  schema: schemaOf(
    {
      podTemplate: required(podTemplate),
      ...sharedSpec,
      replicas: integer('Whether the sandbox runs: 1 or 0.', { minimum: 0, maximum: 1, default: 1 }),
    },
    { ...sharedStatus, replicas: integer('Pods there are: 1 or 0.') },
  ),
  // Upstream's definition names no columns, and those of such a kind are its name and age.
  columns: [nameColumn, ageColumn],
  scale: { specReplicas: 'replicas', statusReplicas: 'replicas', statusSelector: 'selector' },
  validate: (next, previous) => podTemplateErrors(next, previous, ['spec', 'podTemplate']),
  fromStored(stored) {
    const { operatingMode: mode, ...spec } = partOf(stored, 'spec');
    const { nodeName: _, ...status } = partOf(stored, 'status');
    return withParts(
      stored,
      { ...spec, replicas: mode === 'Suspended' ? 0 : 1 },
      { ...status, replicas: hasPod(stored) ? 1 : 0 },
    );
  },
  toStored(object, previous) {
    const { replicas, ...spec } = partOf(object, 'spec');
    const { replicas: _, ...status } = partOf(object, 'status');
    const node = at(previous, 'status', 'nodeName');
    return withParts(
      object,
      { ...spec, operatingMode: replicas === 0 ? 'Suspended' : 'Running' },
      { ...status, ...(node === undefined ? {} : { nodeName: node }) },
    );
  },
};

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
      schema: schemaOf(
        { podTemplate: required(podTemplate), ...sharedSpec, operatingMode },
        { ...sharedStatus, nodeName },
      ),
      columns,
    },
    v1alpha1,
  ],
  validate: rulesFor('podTemplate'),
};

/** sandbox.gke.io Sandbox: the same objects as GKE's managed add-on names them, with `template` where upstream has `podTemplate`. */
export const gkeSandbox: Kind = {
  ...sandbox,
  group: 'sandbox.gke.io',
  storedAs: sandbox,
  versions: [
    {
      version: 'v1',
      schema: schemaOf(
        { template: required(podTemplate), ...sharedSpec, operatingMode },
        { ...sharedStatus, nodeName },
      ),
      columns,
      fromStored(stored) {
        const { podTemplate: template, ...spec } = partOf(stored, 'spec');
        return { ...stored, spec: { ...(template === undefined ? {} : { template }), ...spec } };
      },
      toStored(object) {
        const { template, ...spec } = partOf(object, 'spec');
        return { ...object, spec: { ...(template === undefined ? {} : { podTemplate: template }), ...spec } };
      },
    },
  ],
  validate: rulesFor('template'),
};

function schemaOf(spec: Parameters<typeof object>[1], status: Parameters<typeof object>[1]): Schema {
  return rootSchema(DESCRIPTION, {
    spec: required(object('The sandbox as it is to be.', spec)),
    status: object('The sandbox as it is.', status),
  });
}

function rulesFor(template: string): NonNullable<Kind['validate']> {
  return (next, previous) => {
    const errors: FieldError[] = podTemplateErrors(next, previous, ['spec', template]);
    const claims = (value: unknown) => at(value, 'spec', 'volumeClaimTemplates');
    if (previous !== undefined && !isDeepStrictEqual(claims(next), claims(previous)))
      errors.push({
        field: 'spec',
        reason: 'FieldValueInvalid',
        message: 'Invalid value: "object": volumeClaimTemplates is immutable',
      });
    return errors;
  };
}

function partOf(value: ApiObject, name: 'spec' | 'status'): Record<string, unknown> {
  return (value[name] ?? {}) as Record<string, unknown>;
}

/** An object that has no status yet gets none. */
function withParts(source: ApiObject, spec: object, status: object): ApiObject {
  return { ...source, spec, ...(source.status === undefined ? {} : { status }) } as ApiObject;
}

/** The controller keeps this condition as long as there is a Pod. */
function hasPod(stored: ApiObject): boolean {
  return items(stored, 'status', 'conditions').some((entry) => at(entry, 'type') === 'PodScheduled');
}
