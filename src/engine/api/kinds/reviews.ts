import type { TokenLookup } from '../http/authentication.ts';
import { type ApiObject, at, text } from '../object.ts';
import { rootSchema } from '../schema/metadata.ts';
import { anyObject, list, object, required, string } from '../schema/schema.ts';
import type { Caller, ReviewKind } from './kind.ts';

/** Members of this group may do anything, as in Kubernetes. */
const ALL_POWERFUL = 'system:masters';

const accessSpec = {
  resourceAttributes: anyObject('A resource and what is to be done with it.'),
  nonResourceAttributes: anyObject('A path and what is to be done with it.'),
};

/** The reviews: who bears a token, and who may do what. The engine knows its own tokens; whoever bears one of an administrator may do all. */
export function reviewKinds(tokens: TokenLookup): ReviewKind[] {
  return [
    {
      group: 'authentication.k8s.io',
      version: 'v1',
      plural: 'tokenreviews',
      kind: 'TokenReview',
      schema: rootSchema('Asks whose a token is.', {
        spec: required(
          object('The question.', {
            token: string('The token.'),
            audiences: list('For whom it should be.', { type: 'string' }),
          }),
        ),
        status: anyObject('The answer.'),
      }),
      answer: (review) => {
        const caller = tokens(text(review, 'spec', 'token'));
        const audiences = at(review, 'spec', 'audiences');
        return {
          ...review,
          status:
            caller === undefined
              ? { authenticated: false, user: {}, error: 'the token is none of this engine' }
              : { authenticated: true, user: userInfo(caller), ...(audiences === undefined ? {} : { audiences }) },
        };
      },
    },
    {
      group: 'authentication.k8s.io',
      version: 'v1',
      plural: 'selfsubjectreviews',
      kind: 'SelfSubjectReview',
      schema: rootSchema('Asks who the caller is.', { status: anyObject('The answer.') }),
      answer: (review, caller) => ({ ...review, status: { userInfo: userInfo(caller) } }),
    },
    {
      group: 'authorization.k8s.io',
      version: 'v1',
      plural: 'subjectaccessreviews',
      kind: 'SubjectAccessReview',
      schema: rootSchema('Asks whether someone may do something.', {
        spec: required(
          object('The question.', {
            ...accessSpec,
            user: string('Name of the user.'),
            groups: list('Groups of the user.', { type: 'string' }),
            uid: string('UID of the user.'),
            extra: anyObject('More of the user.'),
          }),
        ),
        status: anyObject('The answer.'),
      }),
      answer: (review) => {
        const groups = (at(review, 'spec', 'groups') ?? []) as string[];
        return { ...review, status: verdict({ name: text(review, 'spec', 'user'), groups }) };
      },
    },
    {
      group: 'authorization.k8s.io',
      version: 'v1',
      plural: 'selfsubjectaccessreviews',
      kind: 'SelfSubjectAccessReview',
      schema: rootSchema('Asks whether the caller may do something.', {
        spec: required(object('The question.', accessSpec)),
        status: anyObject('The answer.'),
      }),
      answer: (review, caller) => ({ ...review, status: verdict(caller) }) as ApiObject,
    },
    {
      group: 'authorization.k8s.io',
      version: 'v1',
      plural: 'selfsubjectrulesreviews',
      kind: 'SelfSubjectRulesReview',
      schema: rootSchema('Asks for all that the caller may do in a namespace.', {
        spec: required(object('The question.', { namespace: string('Name of the namespace.') })),
        status: anyObject('The answer.'),
      }),
      answer: (review, caller) => ({ ...review, status: rulesOf(caller) }),
    },
  ];
}

function userInfo({ name, groups }: Caller) {
  return { username: name, groups };
}

function rulesOf({ groups }: Caller) {
  const all = groups.includes(ALL_POWERFUL);
  return {
    resourceRules: all ? [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }] : [],
    nonResourceRules: all ? [{ verbs: ['*'], nonResourceURLs: ['*'] }] : [],
    incomplete: false,
  };
}

function verdict({ groups }: Caller) {
  return groups.includes(ALL_POWERFUL)
    ? { allowed: true, reason: `member of ${ALL_POWERFUL}` }
    : { allowed: false, reason: `not a member of ${ALL_POWERFUL}` };
}
