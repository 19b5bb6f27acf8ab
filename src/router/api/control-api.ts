import type { Server } from 'node:http';
import swagger from '@fastify/swagger';
import websocket from '@fastify/websocket';
import type { FastifyInstance } from 'fastify';
import { renderProblem } from '../problem.ts';
import type { Waker } from '../wake/index.ts';
import { problemOfError } from './api-problem.ts';
import { type CallerOptions, createCallers } from './caller.ts';
import { type ClaimRoutesOptions, registerClaimRoutes } from './claims.ts';
import type { EventLog } from './event-log.ts';
import { type EventStreams, registerEventRoutes } from './events.ts';
import { type ExplainOptions, explain } from './explain.ts';
import { guardControlApi } from './guard.ts';
import { type LinkRoutesOptions, registerLinkRoutes } from './links.ts';
import { type LedgerStreams, registerLedgerRoutes } from './sandbox-events.ts';
import { registerSandboxRoutes, type SandboxRoutesOptions } from './sandboxes.ts';
import * as schemas from './schemas.ts';
import { registerSnapshotRoutes, type SnapshotRoutesOptions } from './snapshots.ts';
import { registerTokenRoutes, type TokenRoutesOptions } from './tokens.ts';
import { registerWakeRoutes } from './wakes.ts';

/** What the control API needs. */
export interface ControlApiOptions
  extends CallerOptions,
    SnapshotRoutesOptions,
    ExplainOptions,
    ClaimRoutesOptions,
    LinkRoutesOptions,
    SandboxRoutesOptions,
    TokenRoutesOptions {
  waker: Waker;
  log: EventLog;
  /** What emits `upgrade` for requests that are the router's own. */
  upgrades: Server;
  /** Told of failures that are the router's own. */
  report(what: string, error: unknown): void;
}

/** Largest message that a WebSocket of ours takes: nothing is expected there. */
const LARGEST_MESSAGE_BYTES = 1024;

/** Routes below `/-/v1`, limited to the caller's namespaces. */
export function registerControlApi(fastify: FastifyInstance, options: ControlApiOptions): EventStreams {
  const callers = createCallers(options);
  let streams: EventStreams | undefined;
  let ledgers: LedgerStreams | undefined;
  guardControlApi(fastify);

  fastify.setErrorHandler((error, request, reply) => {
    const problem = problemOfError(error, (cause) =>
      options.report(`answering ${request.method} ${request.url.split('?')[0]}`, cause),
    );
    callers.refused(request, problem);
    const { status, headers, body } = renderProblem(problem, request.id, false);
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

  fastify.register(swagger, {
    openapi: {
      openapi: '3.0.3',
      info: {
        title: 'Sandbox Router',
        description: 'Claims, sandboxes, snapshots and events, limited to what the tenant of the credential has.',
        version: 'v1',
      },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
      security: [{ bearer: [] }],
    },
  });
  fastify.register(websocket, {
    options: { server: options.upgrades, maxPayload: LARGEST_MESSAGE_BYTES },
    errorHandler: (_error, socket) => socket.terminate(),
  });
  // After both: they look at routes as these are added.
  fastify.register(async (routes) => {
    registerSandboxRoutes(routes, callers, options);
    ledgers = registerLedgerRoutes(routes, callers, options);
    registerWakeRoutes(routes, callers, options);
    registerSnapshotRoutes(routes, callers, options);
    registerClaimRoutes(routes, callers, options);
    registerLinkRoutes(routes, callers, options);
    registerTokenRoutes(routes, callers, options);
    streams = registerEventRoutes(routes, callers, options.log);

    routes.post(
      '/-/v1/explain',
      {
        schema: {
          summary: 'What would become of a request',
          body: schemas.explainBody,
          response: { 200: schemas.explanation, '4xx': schemas.problem },
        },
      },
      async (request) => {
        const principal = await callers.of(request);
        const { url, token } = request.body as { url: string; token?: string };
        return await explain(options, principal, { url, token }, Date.now());
      },
    );
    // Of nobody's sandboxes, and the same for everybody: no credential is asked for.
    routes.get('/-/v1/openapi.json', { schema: { hide: true } }, async () => fastify.swagger());
  });
  return {
    closeAll: () => {
      streams?.closeAll();
      ledgers?.closeAll();
    },
  };
}
