import {
  boolean,
  integer,
  list,
  listBy,
  object,
  required,
  type Schema,
  setOf,
  string,
  stringMap,
  time,
} from './schema.ts';

const ownerReference = object(
  'An object that this one depends on; when all owners are gone, the dependent is deleted.',
  {
    apiVersion: required(string('API version of the owner.', { minLength: 1 })),
    kind: required(string('Kind of the owner.', { minLength: 1 })),
    name: required(string('Name of the owner.', { minLength: 1 })),
    uid: required(string('UID of the owner.', { minLength: 1 })),
    controller: boolean('Whether this owner manages the object; at most one does.'),
    blockOwnerDeletion: boolean("Whether a foreground deletion of the owner waits for this object's end."),
  },
  { 'x-kubernetes-map-type': 'atomic' },
);

/** Schema of `metadata`. */
export const objectMeta: Schema = object(
  'Standard metadata: name, namespace, labels, annotations and what the API server keeps.',
  {
    name: string('Name, unique within the namespace and kind. Cannot change.'),
    generateName: string('Prefix from which the server makes a unique name when `name` is empty.'),
    namespace: string('Namespace of the object. Cannot change.'),
    uid: string('Unique in time and space, set by the server.'),
    resourceVersion: string('Opaque version of the object for concurrency control and watches.'),
    generation: integer('Counts the changes of the desired state.', { format: 'int64' }),
    creationTimestamp: time('When the server created the object.'),
    deletionTimestamp: time('When the object is to be gone; set once its deletion was asked for.'),
    deletionGracePeriodSeconds: integer('Seconds given to the object for an orderly end.', { format: 'int64' }),
    labels: stringMap('Keys and values by which objects are selected.'),
    annotations: stringMap('Keys and values for tools and people; not for selection.'),
    ownerReferences: listBy(['uid'], 'Objects that this one depends on.', ownerReference),
    finalizers: setOf('Must be empty before the object disappears.', { type: 'string' }),
    managedFields: list('Which manager set which fields, for server-side apply.', {
      type: 'object',
      'x-kubernetes-preserve-unknown-fields': true,
    }),
    selfLink: string('Deprecated; not set.'),
  },
);

/** Schema of a `metadata` that an embedded blueprint may carry: labels and annotations. */
export const templateMetadata: Schema = object('Labels and annotations handed on to what is made from this.', {
  labels: stringMap('Labels handed on.'),
  annotations: stringMap('Annotations handed on.'),
});

/** Schema of `status.conditions`: merged by type. */
export const conditions: Schema = listBy(
  ['type'],
  'What is known of the object, one entry per type.',
  object('One aspect of the state of an object.', {
    type: required(string('Name of the aspect, CamelCase.', { maxLength: 316 })),
    status: required({ type: 'string', enum: ['True', 'False', 'Unknown'], description: 'Whether it holds.' }),
    reason: string('One CamelCase word: why.'),
    message: string('Details for people.'),
    observedGeneration: integer('Generation of the object that this was derived from.', {
      format: 'int64',
      minimum: 0,
    }),
    lastTransitionTime: time('When `status` last flipped.'),
    lastProbeTime: time('When this was last looked at.'),
  }),
);

/** An object reference within the same namespace. */
export function localReference(description: string, name: { default?: string } = {}): Schema {
  return object(description, { name: string('Name of the object.', name) }, { 'x-kubernetes-map-type': 'atomic' });
}

/** Schema of a label selector. */
export const labelSelector: Schema = object(
  'Selects objects by their labels; all requirements must hold.',
  {
    matchLabels: stringMap('Labels that must have these values.'),
    matchExpressions: list(
      'Requirements on labels.',
      object('A requirement on one label.', {
        key: required(string('The label.')),
        operator: required({
          type: 'string',
          enum: ['In', 'NotIn', 'Exists', 'DoesNotExist'],
          description: 'How the label relates to the values.',
        }),
        values: list('Values for In and NotIn.', { type: 'string' }),
      }),
    ),
  },
  { 'x-kubernetes-map-type': 'atomic' },
);

/** The whole schema of a kind: apiVersion, kind, metadata and the given parts. */
export function rootSchema(description: string, parts: Parameters<typeof object>[1]): Schema {
  return object(description, {
    apiVersion: string('Version of the API that this object is written in.'),
    kind: string('Kind of this object.'),
    metadata: objectMeta,
    ...parts,
  });
}
