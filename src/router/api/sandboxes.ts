import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { isApiError } from '../../kubernetes/index.ts';
import { maySee } from '../identity/index.ts';
import type { Limits, Tenant } from '../policy/index.ts';
import { type Problem, ProblemError } from '../problem.ts';
import type { SandboxWriter } from '../sandbox-writer.ts';
import type { PodRecord, Route, RoutingTable } from '../table/index.ts';
import type { Callers } from './caller.ts';

/** What the routes of sandboxes need. */
export interface SandboxRoutesOptions {
  writer: SandboxWriter;
  table: RoutingTable;
  limits: Limits;
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

/** `/-/v1/sandboxes` and `/-/v1/resolve`: scope `manage`, or `wake` to resume. */
export function registerSandboxRoutes(fastify: FastifyInstance, callers: Callers, options: SandboxRoutesOptions): void {
  const { table } = options;

  async function setMode(
    request: FastifyRequest,
    reply: FastifyReply,
    operatingMode: 'Running' | 'Suspended',
  ): Promise<SandboxView> {
    // Whose requests may wake a sandbox may also ask for it; a pause takes it away from everybody else.
    const { route, principal } = await callers.sandbox(
      request,
      operatingMode === 'Running' ? ['wake', 'manage'] : ['manage'],
    );
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
    const principal = await callers.of(request);
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
  fastify.get('/-/v1/sandboxes/:name', async (request) => view((await callers.sandbox(request)).route, table));
  fastify.post('/-/v1/sandboxes/:name/pause', (request, reply) => setMode(request, reply, 'Suspended'));
  fastify.post('/-/v1/sandboxes/:name/resume', (request, reply) => setMode(request, reply, 'Running'));
  fastify.get('/-/v1/resolve/:name', async (request) => {
    const { route } = await callers.sandbox(request);
    const { pod, sandbox } = route;
    const routable = table.isRoutable(route);
    return {
      ...view(route, table),
      address: routable ? pod?.address : null,
      podUid: routable ? pod?.uid : null,
      port: sandbox.port,
    };
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
