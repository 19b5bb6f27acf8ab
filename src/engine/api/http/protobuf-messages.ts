import type { Message } from './protobuf.ts';

/**
 * Field numbers of the messages that Go clients with generated types (kubectl's own `create namespace|secret|configmap|service` and `auth`,
 * leader election, event recorders) post; everything else they send as JSON. Source: the generated.proto files of k8s.io/api and apimachinery.
 */
const ownerReference: Message = {
  1: ['kind', 'string'],
  3: ['name', 'string'],
  4: ['uid', 'string'],
  5: ['apiVersion', 'string'],
  6: ['controller', 'boolean'],
  7: ['blockOwnerDeletion', 'boolean'],
};

const metadata: Message = {
  1: ['name', 'string'],
  2: ['generateName', 'string'],
  3: ['namespace', 'string'],
  5: ['uid', 'string'],
  6: ['resourceVersion', 'string'],
  8: ['creationTimestamp', 'time'],
  11: ['labels', { map: 'string' }],
  12: ['annotations', { map: 'string' }],
  13: ['ownerReferences', { repeated: { message: ownerReference } }],
  14: ['finalizers', { repeated: 'string' }],
};

const withSpec = (spec: Message): Message => ({
  1: ['metadata', { message: metadata }],
  2: ['spec', { message: spec }],
});

const resourceAttributes: Message = {
  1: ['namespace', 'string'],
  2: ['verb', 'string'],
  3: ['group', 'string'],
  4: ['version', 'string'],
  5: ['resource', 'string'],
  6: ['subresource', 'string'],
  7: ['name', 'string'],
};

const access: Message = {
  1: ['resourceAttributes', { message: resourceAttributes }],
  2: ['nonResourceAttributes', { message: { 1: ['path', 'string'], 2: ['verb', 'string'] } }],
};

const objectReference: Message = {
  1: ['kind', 'string'],
  2: ['namespace', 'string'],
  3: ['name', 'string'],
  4: ['uid', 'string'],
  5: ['apiVersion', 'string'],
  6: ['resourceVersion', 'string'],
  7: ['fieldPath', 'string'],
};

const servicePort: Message = {
  1: ['name', 'string'],
  2: ['protocol', 'string'],
  3: ['port', 'integer'],
  4: ['targetPort', 'intOrString'],
  5: ['nodePort', 'integer'],
  6: ['appProtocol', 'string'],
};

/** Messages by apiVersion and kind. */
export const MESSAGES: Record<string, Message> = {
  'v1/Namespace': withSpec({ 1: ['finalizers', { repeated: 'string' }] }),
  'v1/Secret': {
    1: ['metadata', { message: metadata }],
    2: ['data', { map: 'bytes' }],
    3: ['type', 'string'],
    4: ['stringData', { map: 'string' }],
    5: ['immutable', 'boolean'],
  },
  'v1/ConfigMap': {
    1: ['metadata', { message: metadata }],
    2: ['data', { map: 'string' }],
    3: ['binaryData', { map: 'bytes' }],
    4: ['immutable', 'boolean'],
  },
  'v1/Service': withSpec({
    1: ['ports', { repeated: { message: servicePort } }],
    2: ['selector', { map: 'string' }],
    3: ['clusterIP', 'string'],
    4: ['type', 'string'],
    10: ['externalName', 'string'],
    13: ['publishNotReadyAddresses', 'boolean'],
    18: ['clusterIPs', { repeated: 'string' }],
  }),
  'v1/Event': {
    1: ['metadata', { message: metadata }],
    2: ['involvedObject', { message: objectReference }],
    3: ['reason', 'string'],
    4: ['message', 'string'],
    5: ['source', { message: { 1: ['component', 'string'], 2: ['host', 'string'] } }],
    6: ['firstTimestamp', 'time'],
    7: ['lastTimestamp', 'time'],
    8: ['count', 'integer'],
    9: ['type', 'string'],
    10: ['eventTime', 'time'],
    12: ['action', 'string'],
    13: ['related', { message: objectReference }],
    14: ['reportingComponent', 'string'],
    15: ['reportingInstance', 'string'],
  },
  'coordination.k8s.io/v1/Lease': withSpec({
    1: ['holderIdentity', 'string'],
    2: ['leaseDurationSeconds', 'integer'],
    3: ['acquireTime', 'time'],
    4: ['renewTime', 'time'],
    5: ['leaseTransitions', 'integer'],
  }),
  'authentication.k8s.io/v1/TokenReview': withSpec({
    1: ['token', 'string'],
    2: ['audiences', { repeated: 'string' }],
  }),
  'authentication.k8s.io/v1/SelfSubjectReview': { 1: ['metadata', { message: metadata }] },
  'authorization.k8s.io/v1/SelfSubjectAccessReview': withSpec(access),
  'authorization.k8s.io/v1/SelfSubjectRulesReview': withSpec({ 1: ['namespace', 'string'] }),
  'authorization.k8s.io/v1/SubjectAccessReview': withSpec({
    ...access,
    3: ['user', 'string'],
    4: ['groups', { repeated: 'string' }],
  }),
};

/** meta/v1 DeleteOptions, under any group's name. */
export const DELETE_OPTIONS: Message = {
  1: ['gracePeriodSeconds', 'integer'],
  2: ['preconditions', { message: { 1: ['uid', 'string'], 2: ['resourceVersion', 'string'] } }],
  3: ['orphanDependents', 'boolean'],
  4: ['propagationPolicy', 'string'],
  5: ['dryRun', { repeated: 'string' }],
};
