import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { isApiError } from '../../kubernetes/index.ts';
import { maySee, type Principal } from '../identity/index.ts';
import type { Ledger, Transitions } from '../ledger/index.ts';
import type { Limits, Tenant } from '../policy/index.ts';
import { type Problem, ProblemError } from '../problem.ts';
import type { SandboxWriter } from '../sandbox-writer.ts';
import type { PodRecord, Route, RoutingTable } from '../table/index.ts';
import { pauseInTwoPhases } from '../wake/index.ts';
import type { Callers } from './caller.ts';
import { type SandboxView, type ViewOptions, viewOf } from './sandbox-view.ts';
import * as schemas from './schemas.ts';

/** What the routes of sandboxes need. */
export interface SandboxRoutesOptions extends Pick<ViewOptions, 'sleepingOf'> {
  writer: SandboxWriter;
  table: RoutingTable;
  limits: Limits;
  /** Told who paused or resumed what. */
  transitions: Transitions;
  ledger: Pick<Ledger, 'record'>;
  /** Whether no other process answers requests for these sandboxes. */
  isAlone: boolean;
  refusedByClass(tenant: Tenant, route: Route, pod: PodRecord | undefined): Problem | undefined;
}

/** How long other routers may take to say that requests are under way in them. */
const DRAIN_MS = 500;
/** How long a pause waits for requests that are under way. */
const IN_FLIGHT_MS = 10_000;

/** Makes a sandbox run that does not, within classes and limits of the tenant. @throws ProblemError */
export async function startSandbox(
  options: SandboxRoutesOptions,
  { tenant, credentialId }: Principal,
  route: Route,
  rule = 'resume',
): Promise<void> {
  const problem =
    options.refusedByClass(tenant, route, undefined) ?? options.limits.beginWake(tenant, route, performance.now());
  if (problem !== undefined) throw new ProblemError(problem);
  try {
    await setRunning(options.writer, route, true);
    options.transitions.resumed(route, { via: 'api', credential: credentialId, rule });
  } catch (error) {
    options.limits.endWake(route);
    throw error;
  }
}

/** Pauses a sandbox as soon as nothing is under way in it. @throws ProblemError in_use */
async function pause(options: SandboxRoutesOptions, { credentialId }: Principal, route: Route): Promise<void> {
  const { sandbox } = route;
  const { namespace, name, uid } = sandbox;
  if (!sandbox.running) return await setRunning(options.writer, route, false);
  const cause = { via: 'api', credential: credentialId, rule: 'pause' } as const;
  const outcome = await pauseInTwoPhases(route, {
    writer: options.writer,
    drainMs: options.isAlone ? 0 : DRAIN_MS,
    inFlightMs: IN_FLIGHT_MS,
    fenced: false,
    stillWanted: async () => true,
  }).catch(refuseForbidden);
  if (outcome.paused) {
    options.transitions.paused(route, cause);
    return;
  }
  options.ledger.record({ namespace, name, uid }, { type: 'pause_cancelled', cause, detail: outcome.detail });
  throw new ProblemError({
    code: 'in_use',
    detail: `${name} stays awake: ${outcome.detail}.`,
    sandbox: name,
    namespace,
  });
}

function refuseForbidden(error: unknown): never {
  if (isApiError(error, 'Forbidden'))
    throw new ProblemError({ code: 'forbidden', detail: `The API server refused: ${error.message}` });
  throw error;
}

async function setRunning(writer: SandboxWriter, { sandbox }: Route, running: boolean): Promise<void> {
  const { namespace, name } = sandbox;
  await writer.setRunning({ namespace, name }, running).catch(refuseForbidden);
}

/** `/-/v1/sandboxes` and `/-/v1/resolve`: scope `manage`, or `wake` to resume. */
export function registerSandboxRoutes(fastify: FastifyInstance, callers: Callers, options: SandboxRoutesOptions): void {
  const { table } = options;

  async function setMode(
    request: FastifyRequest,
    reply: FastifyReply,
    operatingMode: 'Running' | 'Suspended',
  ): Promise<SandboxView> {
    const running = operatingMode === 'Running';
    // Whose requests may wake a sandbox may also ask for it; a pause takes it away from everybody else.
    const { route, principal } = await callers.sandbox(request, running ? ['wake', 'manage'] : ['manage']);
    const { sandbox } = route;
    if (running && !sandbox.running) await startSandbox(options, principal, route);
    else if (running) await setRunning(options.writer, route, true);
    else {
      await pause(options, principal, route);
    }
    callers.did(request, running ? 'resumed' : 'paused', { namespace: sandbox.namespace, sandbox: sandbox.name });
    reply.code(202);
    return viewOf(table.find(sandbox.namespace, sandbox.name) ?? route, options);
  }

  fastify.get(
    '/-/v1/sandboxes',
    {
      schema: {
        summary: 'List sandboxes',
        querystring: schemas.listQuery,
        response: { 200: schemas.sandboxList, '4xx': schemas.problem },
      },
    },
    async (request) => {
      const principal = await callers.of(request);
      // Where the cluster is asked about each sandbox, not about all of them at once.
      const { namespace = principal.mayProxy && principal.defaultNamespace } = request.query as { namespace?: string };
      const items: SandboxView[] = [];
      for (const route of table.routes()) {
        if (namespace !== undefined && route.sandbox.namespace !== namespace) continue;
        if (!maySee(principal, route.sandbox)) continue;
        if ((await principal.mayProxy?.(route.sandbox)) !== false) items.push(viewOf(route, options));
      }
      return { items };
    },
  );
  const one = { params: schemas.nameParams, querystring: schemas.namespaceQuery };
  fastify.get(
    '/-/v1/sandboxes/:name',
    { schema: { summary: 'One sandbox', ...one, response: { 200: schemas.sandboxView, '4xx': schemas.problem } } },
    async (request) => viewOf((await callers.sandbox(request)).route, options),
  );
  for (const [verb, operatingMode, summary] of [
    ['pause', 'Suspended', 'Snapshot a sandbox and stop it'],
    ['resume', 'Running', 'Start a paused sandbox'],
  ] as const)
    fastify.post(
      `/-/v1/sandboxes/:name/${verb}`,
      { schema: { summary, ...one, response: { 202: schemas.sandboxView, '4xx': schemas.problem } } },
      (request, reply) => setMode(request, reply, operatingMode),
    );
  fastify.get(
    '/-/v1/resolve/:name',
    {
      schema: {
        summary: 'Where a sandbox is now',
        ...one,
        response: { 200: schemas.resolution, '4xx': schemas.problem },
      },
    },
    async (request) => {
      const { route } = await callers.sandbox(request);
      const { pod } = route;
      const routable = table.isRoutable(route);
      return {
        ...viewOf(route, options),
        address: routable ? pod?.address : null,
        podUid: routable ? pod?.uid : null,
        suspectPorts: routable ? [...(pod?.suspectPorts?.keys() ?? [])] : [],
      };
    },
  );
}
