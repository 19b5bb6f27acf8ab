import {
  type KubernetesObject,
  type Pod,
  type ResourceClient,
  type ResourceType,
  SELF_SUBJECT_ACCESS_REVIEWS,
} from '../../kubernetes/index.ts';
import type { Facts } from './facts.ts';
import { nameOf, type ObjectReference } from './finding.ts';
import type { Right } from './rights.ts';
import { unlessForbidden } from './unless-forbidden.ts';

/** authorization.k8s.io/v1 SubjectAccessReview: the same question about somebody else. */
const SUBJECT_ACCESS_REVIEWS: ResourceType = {
  ...SELF_SUBJECT_ACCESS_REVIEWS,
  plural: 'subjectaccessreviews',
  kind: 'SubjectAccessReview',
};

interface AccessReview extends KubernetesObject {
  spec: {
    user?: string;
    groups?: string[];
    resourceAttributes: { group: string; resource: string; verb: string; namespace?: string; name?: string };
  };
  status?: { allowed?: boolean };
}

/** The ServiceAccount of the pods of the router; undefined where none runs. */
export function serviceAccountOf(routerNamespace: string, pods: readonly Pod[]): ObjectReference | undefined {
  const [first] = pods;
  if (first === undefined) return undefined;
  const { serviceAccountName = 'default' } = first.spec as { serviceAccountName?: string };
  return { kind: 'ServiceAccount', namespace: routerNamespace, name: serviceAccountName };
}

/**
 * Asks whether the ServiceAccount of the router has these rights. Where no router runs, or the caller may not ask about others, the caller's own
 * rights are asked for: right for a doctor that runs with the router's credential, and the best that can be known for another.
 */
export async function askRights(
  client: Pick<ResourceClient, 'create'>,
  rights: readonly Right[],
  account: ObjectReference | undefined,
  scope: { namespace?: string; routerNamespace: string },
): Promise<Facts['rights']> {
  const ask = async (type: ResourceType, subject: Pick<AccessReview['spec'], 'user' | 'groups'>) =>
    await Promise.all(
      rights.map(async (right) => {
        const review = await unlessForbidden(client.create(type, reviewOf(type, subject, right, scope)));
        return { right, allowed: review?.status?.allowed };
      }),
    );
  if (account !== undefined) {
    const answers = await ask(SUBJECT_ACCESS_REVIEWS, subjectOf(account));
    if (answers.every(({ allowed }) => allowed !== undefined)) return { of: nameOf(account), answers };
  }
  return { of: undefined, answers: await ask(SELF_SUBJECT_ACCESS_REVIEWS, {}) };
}

function reviewOf(
  { group, version, kind }: ResourceType,
  subject: Pick<AccessReview['spec'], 'user' | 'groups'>,
  right: Right,
  scope: { namespace?: string; routerNamespace: string },
): AccessReview {
  const namespace = right.scope === 'router' ? scope.routerNamespace : scope.namespace;
  return {
    apiVersion: `${group}/${version}`,
    kind,
    // Reviews are not stored, so they need no name.
    metadata: {} as AccessReview['metadata'],
    spec: {
      ...subject,
      resourceAttributes: {
        group: right.group,
        resource: right.resource,
        verb: right.verb,
        ...(namespace === undefined ? {} : { namespace }),
        ...(right.name === undefined ? {} : { name: right.name }),
      },
    },
  };
}

/** User and groups under which the API server knows a ServiceAccount. */
function subjectOf({ namespace = '', name }: ObjectReference) {
  return {
    user: `system:serviceaccount:${namespace}:${name}`,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
  };
}
