import type { IncomingMessage } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { scanHeaders } from '../forward/index.ts';
import {
  bearerToken,
  certificateCredential,
  type Identity,
  maySee,
  type Principal,
  type SandboxName,
  type Scope,
} from '../identity/index.ts';
import type { Limits } from '../policy/index.ts';
import { type Problem, ProblemError } from '../problem.ts';
import type { Route, RoutingTable } from '../table/index.ts';

/** What telling callers and their sandboxes apart needs. */
export interface CallerOptions {
  table: RoutingTable;
  limits: Limits;
  /** Told what callers did, and what they were refused. */
  audit(record: ControlRecord): void;
  /** Undefined lets anybody in, as `anonymous`. */
  identity: Identity | undefined;
  anonymous: Principal;
  /** Whether client certificates are credentials, where no header has one. */
  certificates: boolean;
}

/** One act by the control API, for the audit log. */
export interface ControlRecord {
  action: string;
  tenant: string | undefined;
  credentialId: string | undefined;
  client: string | undefined;
  namespace?: string | undefined;
  sandbox?: string | undefined;
  claim?: string | undefined;
  code?: string;
  detail?: string;
  requestId: string;
}

/** Who calls the control API, and what they may see of it. */
export interface Callers {
  /** Who calls; one of the scopes is enough. @throws ProblemError unauthenticated, forbidden */
  of(request: FastifyRequest, scopes?: readonly Scope[]): Promise<Principal>;
  /** Whether a caller may know of a sandbox. */
  maySee(principal: Principal, sandbox: SandboxName): Promise<boolean>;
  /** The sandbox `:name` in `?namespace=`, if it is the caller's to see. @throws ProblemError also sandbox_not_found */
  sandbox(request: FastifyRequest, scopes?: readonly Scope[]): Promise<{ route: Route; principal: Principal }>;
  /** Something was done for the caller. */
  did(
    request: FastifyRequest,
    action: string,
    what: { namespace?: string | undefined; sandbox?: string; claim?: string },
  ): void;
  /** The caller was refused. */
  refused(request: FastifyRequest, problem: Problem): void;
  /** The same for a sandbox that the body names. @throws ProblemError as {@link Callers.sandbox} */
  sandboxNamed(
    request: FastifyRequest,
    named: { sandbox: string; namespace?: string },
    scopes?: readonly Scope[],
  ): Promise<{ route: Route; principal: Principal }>;
}

/** Callers by their credentials, limited to their namespaces. */
export function createCallers({ table, identity, anonymous, certificates, limits, audit }: CallerOptions): Callers {
  /** Who each request turned out to be from; taken against the tenant's rate once. */
  const known = new WeakMap<IncomingMessage, Principal>();

  async function of(request: FastifyRequest, scopes: readonly Scope[] = ['manage']): Promise<Principal> {
    const principal = await authenticate(request);
    if (!known.has(request.raw)) {
      known.set(request.raw, principal);
      const tooMany = limits.take(principal.tenant, performance.now());
      if (tooMany !== undefined) throw new ProblemError(tooMany);
    }
    if (!scopes.some((scope) => principal.scopes.has(scope)))
      throw new ProblemError({
        code: 'forbidden',
        detail: `This credential has no scope ${scopes.map((scope) => `"${scope}"`).join(' or ')}.`,
      });
    return principal;
  }

  async function authenticate(request: FastifyRequest): Promise<Principal> {
    if (identity === undefined) return anonymous;
    // The parsed headers would hide that one came twice.
    const { authorization, sandboxAuthorization, duplicate } = scanHeaders(request.raw.rawHeaders);
    if (duplicate !== undefined)
      throw new ProblemError({ code: 'bad_header', detail: `${duplicate} was sent more than once.` });
    const header = sandboxAuthorization ?? authorization;
    const credential =
      header === undefined && certificates ? certificateCredential(request.raw.socket) : bearerToken(header);
    const principal = await identity.authenticate(credential, Date.now());
    if (principal === undefined)
      throw new ProblemError({
        code: 'unauthenticated',
        detail: 'A valid credential is needed: "Authorization: Bearer <token>".',
      });
    if (principal.link !== undefined)
      throw new ProblemError({ code: 'forbidden', detail: 'A link opens its sandbox, and nothing of the router.' });
    return principal;
  }

  function sandbox(
    request: FastifyRequest,
    scopes?: readonly Scope[],
  ): Promise<{ route: Route; principal: Principal }> {
    const { name = '' } = request.params as { name?: string };
    const { namespace } = request.query as { namespace?: string };
    return sandboxNamed(request, { sandbox: name, ...(namespace === undefined ? {} : { namespace }) }, scopes);
  }

  async function sandboxNamed(
    request: FastifyRequest,
    named: { sandbox: string; namespace?: string },
    scopes?: readonly Scope[],
  ): Promise<{ route: Route; principal: Principal }> {
    const principal = await of(request, scopes);
    const { sandbox: name, namespace = principal.defaultNamespace } = named;
    const route = (await mayKnow(principal, { namespace, name })) ? table.find(namespace, name) : undefined;
    if (route === undefined)
      throw new ProblemError({
        code: 'sandbox_not_found',
        detail: `There is no sandbox ${name} in ${namespace}.`,
        sandbox: name,
        namespace,
      });
    return { route, principal };
  }

  const record = (request: FastifyRequest) => {
    const principal = known.get(request.raw);
    return {
      tenant: principal?.tenant.name,
      credentialId: principal?.credentialId,
      client: request.raw.socket.remoteAddress,
      requestId: request.id,
    };
  };

  return {
    of,
    sandbox,
    sandboxNamed,
    maySee: mayKnow,
    did: (request, action, what) => audit({ action, ...record(request), ...what }),
    refused: (request, { code, detail, sandbox: name, namespace }) =>
      audit({ action: 'refused', ...record(request), namespace, sandbox: name, code, detail }),
  };
}

async function mayKnow(principal: Principal, name: SandboxName): Promise<boolean> {
  return maySee(principal, name) && (await principal.mayProxy?.(name)) !== false;
}
