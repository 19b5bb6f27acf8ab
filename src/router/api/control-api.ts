import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { isApiError } from '../../kubernetes/index.ts';
import type { AddressOptions } from '../address/index.ts';
import { scanHeaders } from '../forward/index.ts';
import { bearerToken, type Identity, maySee, type Principal, type Scope } from '../identity/index.ts';
import type { Limits, Tenant } from '../policy/index.ts';
import { type Problem, ProblemError, renderProblem } from '../problem.ts';
import type { SandboxWriter } from '../sandbox-writer.ts';
import type { PodRecord, Route, RoutingTable } from '../table/index.ts';
import { explain } from './explain.ts';

/** What the control API needs. */
export interface ControlApiOptions {
  writer: SandboxWriter;
  table: RoutingTable;
  identity: Identity | undefined;
  anonymous: Principal;
  limits: Limits;
  address: AddressOptions;
  unenforcedReason(podUid: string): string | undefined;
  refusedByClass(tenant: Tenant, route: Route, pod: PodRecord | undefined): Problem | undefined;
}

/** A sandbox as `/-/v1` shows it. */
interface SandboxView {
  name: string;
  namespace: string;
  state: 'running' | 'starting' | 'pausing' | 'paused' | 'finished';
  reason: string;
  message: string;
  port: number;
  path: string;
}

/** Routes below `/-/v1`, limited to the caller's namespaces: scope `manage`, or `wake` to resume. */
export function registerControlApi(fastify: FastifyInstance, options: ControlApiOptions): void {
  const { table } = options;

  /** Who calls; one of the scopes is enough. */
  async function caller(request: FastifyRequest, scopes: readonly Scope[] = ['manage']): Promise<Principal> {
    if (options.identity === undefined) return options.anonymous;
    // The parsed headers would hide that one came twice.
    const { authorization, sandboxAuthorization, duplicate } = scanHeaders(request.raw.rawHeaders);
    if (duplicate !== undefined)
      throw new ProblemError({ code: 'bad_header', detail: `${duplicate} was sent more than once.` });
    const principal = await options.identity.authenticate(
      bearerToken(sandboxAuthorization ?? authorization),
      Date.now(),
    );
    if (principal === undefined)
      throw new ProblemError({
        code: 'unauthenticated',
        detail: 'A valid credential is needed: "Authorization: Bearer <token>".',
      });
    if (!scopes.some((scope) => principal.scopes.has(scope)))
      throw new ProblemError({
        code: 'forbidden',
        detail: `This credential has no scope ${scopes.map((scope) => `"${scope}"`).join(' or ')}.`,
      });
    return principal;
  }

  async function find(
    request: FastifyRequest,
    scopes?: readonly Scope[],
  ): Promise<{ route: Route; principal: Principal }> {
    const principal = await caller(request, scopes);
    const { name = '' } = request.params as { name?: string };
    const { namespace = principal.defaultNamespace } = request.query as { namespace?: string };
    const allowed =
      maySee(principal, { namespace, name }) && (await principal.mayProxy?.({ namespace, name })) !== false;
    const route = allowed ? table.find(namespace, name) : undefined;
    if (route === undefined)
      throw new ProblemError({
        code: 'sandbox_not_found',
        detail: `There is no sandbox ${name} in ${namespace}.`,
        sandbox: name,
        namespace,
      });
    return { route, principal };
  }

  async function setMode(
    request: FastifyRequest,
    reply: FastifyReply,
    operatingMode: 'Running' | 'Suspended',
  ): Promise<SandboxView> {
    // Whose requests may wake a sandbox may also ask for it; a pause takes it away from everybody else.
    const { route, principal } = await find(request, operatingMode === 'Running' ? ['wake', 'manage'] : ['manage']);
    const { sandbox } = route;
    const wakes = operatingMode === 'Running' && !sandbox.running;
    const problem = wakes
      ? (options.refusedByClass(principal.tenant, route, undefined) ??
        options.limits.beginWake(principal.tenant, route, performance.now()))
      : undefined;
    if (problem !== undefined) throw new ProblemError(problem);
    try {
      const { namespace, name } = sandbox;
      await options.writer.setRunning({ namespace, name }, operatingMode === 'Running');
    } catch (error) {
      if (wakes) options.limits.endWake(route);
      if (isApiError(error, 'Forbidden'))
        throw new ProblemError({ code: 'forbidden', detail: `The API server refused: ${error.message}` });
      throw error;
    }
    reply.code(202);
    return view(table.find(sandbox.namespace, sandbox.name) ?? route, table);
  }

  fastify.get('/-/v1/sandboxes', async (request) => {
    const principal = await caller(request);
    // Where the cluster is asked about each sandbox, not about all of them at once.
    const { namespace = principal.mayProxy && principal.defaultNamespace } = request.query as { namespace?: string };
    const items: SandboxView[] = [];
    for (const route of table.routes()) {
      if (namespace !== undefined && route.sandbox.namespace !== namespace) continue;
      if (!maySee(principal, route.sandbox)) continue;
      if ((await principal.mayProxy?.(route.sandbox)) !== false) items.push(view(route, table));
    }
    return { items };
  });
  fastify.get('/-/v1/sandboxes/:name', async (request) => view((await find(request)).route, table));
  fastify.post('/-/v1/sandboxes/:name/pause', (request, reply) => setMode(request, reply, 'Suspended'));
  fastify.post('/-/v1/sandboxes/:name/resume', (request, reply) => setMode(request, reply, 'Running'));
  fastify.get('/-/v1/resolve/:name', async (request) => {
    const { route } = await find(request);
    const { pod, sandbox } = route;
    const routable = table.isRoutable(route);
    return {
      ...view(route, table),
      address: routable ? pod?.address : null,
      podUid: routable ? pod?.uid : null,
      port: sandbox.port,
    };
  });

  fastify.post('/-/v1/explain', async (request) => {
    const principal = await caller(request);
    const { url, token } = (request.body ?? {}) as Record<string, unknown>;
    if (typeof url !== 'string' || (token !== undefined && typeof token !== 'string'))
      throw new ProblemError({ code: 'bad_request', detail: 'A body such as {"url": "…", "token": "…"} is wanted.' });
    return await explain(options, principal, { url, token }, Date.now());
  });

  fastify.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    const fallback: Problem =
      error.statusCode !== undefined && error.statusCode < 500
        ? { code: 'bad_request', detail: error.message }
        : { code: 'internal', detail: 'The router failed; its log says why.' };
    const { status, headers, body } = renderProblem(
      error instanceof ProblemError ? error.problem : fallback,
      request.id,
      false,
    );
    reply.code(status).headers(headers).send(body);
  });
  fastify.setNotFoundHandler((request, reply) => {
    const { status, headers, body } = renderProblem(
      { code: 'not_found', detail: `${request.method} ${request.url.split('?')[0]} is not part of the API.` },
      request.id,
      false,
    );
    reply.code(status).headers(headers).send(body);
  });
}

function view(route: Route, table: RoutingTable): SandboxView {
  const { sandbox } = route;
  const awake = table.isRoutable(route) ? 'running' : 'starting';
  // Asked to pause is not paused: its pod may still be there, on its way out.
  const asleep = sandbox.suspended ? 'paused' : 'pausing';
  return {
    name: sandbox.name,
    namespace: sandbox.namespace,
    state: sandbox.finished ? 'finished' : sandbox.running ? awake : asleep,
    reason: sandbox.readyReason,
    message: sandbox.readyMessage,
    port: sandbox.port,
    path: `/${sandbox.name}.${sandbox.namespace}/`,
  };
}
