import { decodeJwt } from 'jose';
import { LRUCache } from 'lru-cache';
import type { TokenReviewSettings } from '../../config/index.ts';
import {
  type KubernetesObject,
  type ResourceClient,
  SUBJECT_ACCESS_REVIEWS,
  TOKEN_REVIEWS,
} from '../../kubernetes/index.ts';
import { ProblemError } from '../problem.ts';
import type { Authenticator, MayProxy } from './identity.ts';

/** A user as the API server knows it. */
interface ReviewedUser {
  username?: string;
  uid?: string;
  groups?: string[];
  extra?: Record<string, string[]>;
}

/** Reviews are asked for again after this time: a ServiceAccount that was deleted gets in no longer. */
const REVIEW_MS = 10_000;
const REVIEW_TIMEOUT_MS = 3000;
const MOST_DECISIONS = 1000;

/** Accepts tokens that the API server accepts. ServiceAccounts belong to the tenant of their namespace. */
export function createTokenReviewAuthenticator(
  client: Pick<ResourceClient, 'create'>,
  settings: TokenReviewSettings,
): Authenticator {
  const { audiences, scopes, subjectAccessReview } = settings;
  return {
    name: 'token-review',
    authenticate: async (token, nowMs) => {
      // ServiceAccount tokens are JWTs: nothing else is worth a question to the API server.
      if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return undefined;
      const spec = { token, ...(audiences.length === 0 ? {} : { audiences }) };
      const { status } = await review<{
        authenticated?: boolean;
        user?: ReviewedUser;
        audiences?: string[];
      }>(client, TOKEN_REVIEWS, { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec });
      const user = status?.user;
      if (status?.authenticated !== true || user?.username === undefined) return undefined;
      // An API server that does not know audiences leaves them out, and has checked none.
      if (audiences.length > 0 && !status.audiences?.some((audience) => audiences.includes(audience))) return undefined;
      const [, namespace] = /^system:serviceaccount:([^:]+):[^:]+$/.exec(user.username) ?? [];
      if (namespace === undefined) return undefined;
      return {
        tenant: namespace,
        namespaces: subjectAccessReview ? ('*' as const) : undefined,
        scopes: new Set(scopes),
        credentialId: user.username,
        expiresAtMs: nowMs + REVIEW_MS,
        endsAtMs: endOf(token) ?? nowMs + REVIEW_MS,
        ...(subjectAccessReview ? { mayProxy: accessReviewer(client, user) } : {}),
      };
    },
  };
}

/** When a token that the API server has accepted says that it ends. */
function endOf(token: string): number | undefined {
  try {
    const { exp } = decodeJwt(token);
    return exp === undefined ? undefined : exp * 1000;
  } catch {
    return undefined;
  }
}

/** Asks for each sandbox, and remembers the answers as long as the token's review. */
function accessReviewer(client: Pick<ResourceClient, 'create'>, user: ReviewedUser): MayProxy {
  const decisions = new LRUCache<string, boolean>({ max: MOST_DECISIONS, ttl: REVIEW_MS });
  return ({ namespace, name }) => {
    const key = `${namespace}/${name}`;
    const known = decisions.get(key);
    if (known !== undefined) return known;
    const { username, uid, groups, extra } = user;
    const resourceAttributes = {
      group: 'agents.x-k8s.io',
      resource: 'sandboxes',
      subresource: 'proxy',
      verb: 'get',
      namespace,
      name,
    };
    return review<{ allowed?: boolean; denied?: boolean }>(client, SUBJECT_ACCESS_REVIEWS, {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: { user: username, uid, groups, extra, resourceAttributes },
    }).then(({ status }) => {
      const allowed = status?.allowed === true && status.denied !== true;
      decisions.set(key, allowed);
      return allowed;
    });
  };
}

/** @throws ProblemError where nothing was decided: never a reason to let anybody in, nor to say that a credential is wrong */
async function review<Status>(
  client: Pick<ResourceClient, 'create'>,
  type: typeof TOKEN_REVIEWS,
  body: { apiVersion: string; kind: string; spec: unknown },
): Promise<{ status?: Status }> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error('no answer in time')), REVIEW_TIMEOUT_MS);
  try {
    const asked = client.create(type, { metadata: {}, ...body } as unknown as KubernetesObject);
    return (await Promise.race([asked, late.promise])) as { status?: Status };
  } catch {
    throw new ProblemError({
      code: 'internal',
      detail: 'The API server could not be asked about this credential.',
    });
  } finally {
    clearTimeout(timer);
  }
}
