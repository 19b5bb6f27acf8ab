import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import {
  isApiError,
  type ResourceClient,
  SANDBOX_CLAIMS,
  SANDBOX_WARM_POOLS,
  type SandboxClaim,
  type SandboxWarmPool,
} from '../../kubernetes/index.ts';
import { mayReach, maySee, type Principal, type SandboxName } from '../identity/index.ts';
import type { Limits } from '../policy/index.ts';
import { ProblemError } from '../problem.ts';
import type { RoutingTable } from '../table/index.ts';
import { refusalOf } from './api-problem.ts';
import type { Callers } from './caller.ts';
import {
  type ClaimRequest,
  claimNameOf,
  claimOf,
  endOf,
  REQUEST_HASH_ANNOTATION,
  requestHashOf,
  waitMsOf,
} from './claim-request.ts';
import { untilReady } from './claim-wait.ts';
import type { SandboxUrls } from './origin.ts';
import * as schemas from './schemas.ts';

/** What the routes of claims need. */
export interface ClaimRoutesOptions {
  client: ResourceClient;
  table: RoutingTable;
  /** Namespaces that are served; all if empty. */
  namespaces: readonly string[];
  limits: Limits;
  urlsOf(request: FastifyRequest, sandbox: SandboxName): SandboxUrls;
}

/** A claim as `/-/v1` shows it. */
interface ClaimView {
  name: string;
  namespace: string;
  pool: string;
  sandbox: string | null;
  ready: boolean;
  reason: string;
  message: string;
  shutdownTime: string | null;
  createdAt: string;
  urls: SandboxUrls | null;
}

const PAGE = 500;
/** How often a change is tried again that somebody else's came before. */
const CONFLICT_RETRIES = 3;

/** `/-/v1/claims`: scope `manage`. Claims are read from the API server itself: they are not in the table. */
export function registerClaimRoutes(fastify: FastifyInstance, callers: Callers, options: ClaimRoutesOptions): void {
  const { client, table } = options;

  function view(request: FastifyRequest, claim: SandboxClaim): ClaimView {
    const { metadata, spec, status } = claim;
    const { namespace = '', name } = metadata;
    const sandbox = status?.sandbox?.name || null;
    const condition = status?.conditions?.find(({ type }) => type === 'Ready');
    return {
      name,
      namespace,
      pool: spec.warmPoolRef.name,
      sandbox,
      ready: condition?.status === 'True',
      reason: condition?.reason ?? '',
      message: condition?.message ?? '',
      shutdownTime: spec.lifecycle?.shutdownTime ?? null,
      createdAt: metadata.creationTimestamp ?? '',
      urls: sandbox === null ? null : options.urlsOf(request, { namespace, name: sandbox }),
    };
  }

  /** Whether a caller may know of a claim: as of its sandbox, once it has one. */
  async function visible(principal: Principal, { metadata, status }: SandboxClaim): Promise<boolean> {
    const { namespace = '' } = metadata;
    const sandbox = { namespace, name: status?.sandbox?.name ?? '' };
    return maySee(principal, sandbox) && (await principal.mayProxy?.(sandbox)) !== false;
  }

  const served = (namespace: string) => options.namespaces.length === 0 || options.namespaces.includes(namespace);

  function claimNotFound(namespace: string, name: string): ProblemError {
    return new ProblemError({
      code: 'claim_not_found',
      detail: `There is no claim ${name} in ${namespace}.`,
      namespace,
    });
  }

  /** The claim `:name`, if it is the caller's to see. */
  async function find(request: FastifyRequest, principal: Principal): Promise<SandboxClaim> {
    const { name } = request.params as { name: string };
    const { namespace = principal.defaultNamespace } = request.query as { namespace?: string };
    if (!mayReach(principal, namespace) || !served(namespace)) throw claimNotFound(namespace, name);
    const claim = await client.get<SandboxClaim>(SANDBOX_CLAIMS, { namespace, name }).catch((error) => {
      if (isApiError(error, 'NotFound') && error.status.details?.name !== undefined) return undefined;
      throw refusalOf(error, 'read claims');
    });
    // The cluster is asked about one that is not there, too: the time taken tells nothing.
    if (claim === undefined) await principal.mayProxy?.({ namespace, name });
    if (claim === undefined || !(await visible(principal, claim))) throw claimNotFound(namespace, name);
    return claim;
  }

  /** Who may change claims: whoever has whole namespaces. */
  async function claimer(request: FastifyRequest): Promise<Principal> {
    const principal = await callers.of(request);
    if (principal.sandbox !== undefined || principal.mayProxy !== undefined)
      throw new ProblemError({
        code: 'forbidden',
        detail: 'This credential is for single sandboxes: it can neither claim one nor let one go.',
      });
    return principal;
  }

  async function poolOf({ pool, template }: ClaimRequest, namespace: string): Promise<string> {
    if (pool !== undefined) {
      await client.get(SANDBOX_WARM_POOLS, { namespace, name: pool }).catch((error) => {
        if (!isApiError(error, 'NotFound') || error.status.details?.name === undefined)
          throw refusalOf(error, 'read warm pools');
        throw new ProblemError({
          code: 'pool_not_found',
          detail: `There is no SandboxWarmPool ${pool} in ${namespace}.`,
          namespace,
        });
      });
      return pool;
    }
    const { items } = await client.list<SandboxWarmPool>(SANDBOX_WARM_POOLS, { namespace }).catch((error) => {
      throw refusalOf(error, 'read warm pools');
    });
    const [best] = items
      .filter(({ spec }) => spec.sandboxTemplateRef.name === template)
      .sort((left, right) => (right.status?.readyReplicas ?? 0) - (left.status?.readyReplicas ?? 0));
    if (best === undefined)
      throw new ProblemError({
        code: 'pool_not_found',
        detail: `No SandboxWarmPool in ${namespace} is of the template ${template}: make one, with 0 replicas if nothing is to be kept warm.`,
        namespace,
      });
    return best.metadata.name;
  }

  /** Creates a claim, or finds the one that the same request made before. */
  async function create(
    asked: ClaimRequest,
    principal: Principal,
    namespace: string,
    key: string | undefined,
  ): Promise<{ claim: SandboxClaim; repeated: boolean }> {
    const name = claimNameOf(asked, principal.tenant.name, namespace, key);
    const before = async (): Promise<SandboxClaim | undefined> => {
      const found = await client.get<SandboxClaim>(SANDBOX_CLAIMS, { namespace, name }).catch((error) => {
        if (isApiError(error, 'NotFound')) return undefined;
        throw refusalOf(error, 'read claims');
      });
      if (found === undefined) return undefined;
      if (key === undefined)
        throw new ProblemError({
          code: 'claim_exists',
          detail: `There is a claim ${name} in ${namespace}.`,
          namespace,
        });
      if (found.metadata.annotations?.[REQUEST_HASH_ANNOTATION] !== requestHashOf(asked))
        throw new ProblemError({
          code: 'idempotency_mismatch',
          detail: 'This Idempotency-Key was used with another body: repeat that one, or use another key.',
          namespace,
        });
      return found;
    };
    const earlier = key === undefined && asked.name === undefined ? undefined : await before();
    if (earlier !== undefined) return { claim: earlier, repeated: true };
    const tooMany = options.limits.mayClaim(principal.tenant);
    if (tooMany !== undefined) throw new ProblemError(tooMany);
    const object = claimOf(asked, { namespace, name, pool: await poolOf(asked, namespace), now: new Date() });
    try {
      return { claim: await client.create<SandboxClaim>(SANDBOX_CLAIMS, object), repeated: false };
    } catch (error) {
      // Another replica was asked the same at the same time.
      const found = isApiError(error, 'AlreadyExists') ? await before() : undefined;
      if (found !== undefined) return { claim: found, repeated: true };
      throw refusalOf(error, 'create claims');
    }
  }

  fastify.post(
    '/-/v1/claims',
    {
      schema: {
        summary: 'Claim a sandbox',
        headers: schemas.idempotencyHeaders,
        body: schemas.claimBody,
        response: { 201: schemas.claimView, 200: schemas.claimView, '4xx': schemas.problem },
      },
    },
    async (request, reply: FastifyReply) => {
      const principal = await claimer(request);
      const asked = request.body as ClaimRequest;
      const { namespace = principal.defaultNamespace } = asked;
      // The same answer whether there is such a namespace or not.
      if (!mayReach(principal, namespace) || !served(namespace))
        throw new ProblemError({
          code: 'forbidden',
          detail: `This credential may not claim in ${namespace}.`,
          namespace,
        });
      const waitMs = waitMsOf(asked);
      endOf(asked, new Date());
      const key = request.headers['idempotency-key'] as string | undefined;
      const { claim, repeated } = await create(asked, principal, namespace, key);
      callers.did(request, repeated ? 'claim_repeated' : 'claimed', { namespace, claim: claim.metadata.name });
      const gone = AbortSignal.any([AbortSignal.timeout(Math.max(1, waitMs)), closeSignal(request)]);
      const latest = waitMs > 0 ? await untilReady(client, table, claim, gone) : claim;
      reply.code(repeated ? 200 : 201).header('location', `/-/v1/claims/${claim.metadata.name}?namespace=${namespace}`);
      return view(request, latest);
    },
  );

  fastify.get(
    '/-/v1/claims',
    {
      schema: {
        summary: 'List claims',
        querystring: schemas.listQuery,
        response: { 200: schemas.claimList, '4xx': schemas.problem },
      },
    },
    async (request) => {
      const principal = await callers.of(request);
      const { namespace } = request.query as { namespace?: string };
      const items: ClaimView[] = [];
      for (const scope of scopesOf(principal, namespace, options.namespaces))
        for await (const claim of claimsIn(client, scope))
          if (await visible(principal, claim)) items.push(view(request, claim));
      return { items };
    },
  );

  const one = { params: schemas.nameParams, querystring: schemas.namespaceQuery };
  fastify.get(
    '/-/v1/claims/:name',
    { schema: { summary: 'One claim', ...one, response: { 200: schemas.claimView, '4xx': schemas.problem } } },
    async (request) => view(request, await find(request, await callers.of(request))),
  );

  fastify.delete(
    '/-/v1/claims/:name',
    {
      schema: {
        summary: 'Let a claim go, and its sandbox with it',
        ...one,
        response: { 204: { type: 'null', description: 'It is going.' }, '4xx': schemas.problem },
      },
    },
    async (request, reply) => {
      const { metadata } = await find(request, await claimer(request));
      const { namespace = '', name, uid = '' } = metadata;
      await client.delete(SANDBOX_CLAIMS, { namespace, name }, { uid }).catch((error) => {
        if (isApiError(error, 'NotFound') || isApiError(error, 'Conflict')) throw claimNotFound(namespace, name);
        throw refusalOf(error, 'delete claims');
      });
      callers.did(request, 'claim_deleted', { namespace, claim: name });
      return reply.code(204).send();
    },
  );

  fastify.post(
    '/-/v1/claims/:name/extend',
    {
      schema: {
        summary: 'Let a claim live longer',
        ...one,
        body: schemas.extendBody,
        response: { 200: schemas.claimView, '4xx': schemas.problem },
      },
    },
    async (request) => {
      const principal = await claimer(request);
      const end = endOf(request.body as ClaimRequest, new Date()) as string;
      for (let attempt = 0; ; attempt++) {
        const { metadata, spec } = await find(request, principal);
        const { namespace = '', name, uid, resourceVersion } = metadata;
        const present = spec.lifecycle?.shutdownTime;
        if (present === undefined || Date.parse(present) > Date.parse(end))
          throw new ProblemError({
            code: 'bad_request',
            detail: `Claim ${name} ends ${present ?? 'never'}: that can be put off, not brought forward. Delete it to end it.`,
            namespace,
          });
        try {
          const patch = { metadata: { uid, resourceVersion }, spec: { lifecycle: { shutdownTime: end } } };
          const claim = await client.patch<SandboxClaim>(SANDBOX_CLAIMS, { namespace, name }, patch, { type: 'merge' });
          callers.did(request, 'claim_extended', { namespace, claim: name });
          return view(request, claim);
        } catch (error) {
          if (isApiError(error, 'NotFound')) throw claimNotFound(namespace, name);
          if (!isApiError(error, 'Conflict') || attempt === CONFLICT_RETRIES) throw refusalOf(error, 'change claims');
        }
      }
    },
  );
}

/** Namespaces whose claims are a caller's; undefined for all at once. */
function scopesOf(
  principal: Principal,
  asked: string | undefined,
  served: readonly string[],
): readonly (string | undefined)[] {
  if (asked !== undefined)
    return mayReach(principal, asked) && (served.length === 0 || served.includes(asked)) ? [asked] : [];
  if (principal.namespaces === '*') return served.length === 0 ? [undefined] : served;
  return [...principal.namespaces].filter((name) => served.length === 0 || served.includes(name));
}

async function* claimsIn(client: ResourceClient, namespace: string | undefined): AsyncIterable<SandboxClaim> {
  const scope = namespace === undefined ? {} : { namespace };
  let next: string | undefined;
  do {
    const page = await client
      .list<SandboxClaim>(SANDBOX_CLAIMS, { ...scope, limit: PAGE, ...(next === undefined ? {} : { continue: next }) })
      .catch((error) => {
        throw refusalOf(error, 'list claims');
      });
    yield* page.items;
    next = page.continue;
  } while (next !== undefined && next !== '');
}

/** Aborted when the caller leaves. */
function closeSignal(request: FastifyRequest): AbortSignal {
  const controller = new AbortController();
  request.raw.socket.once('close', () => controller.abort());
  return controller.signal;
}
