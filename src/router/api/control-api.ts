import type { FastifyInstance } from 'fastify';
import { type Problem, ProblemError, renderProblem } from '../problem.ts';
import { type CallerOptions, createCallers } from './caller.ts';
import { type ExplainOptions, explain } from './explain.ts';
import { registerSandboxRoutes, type SandboxRoutesOptions } from './sandboxes.ts';

/** What the control API needs. */
export interface ControlApiOptions extends CallerOptions, SandboxRoutesOptions, ExplainOptions {}

/** Routes below `/-/v1`, limited to the caller's namespaces. */
export function registerControlApi(fastify: FastifyInstance, options: ControlApiOptions): void {
  const callers = createCallers(options);
  registerSandboxRoutes(fastify, callers, options);

  fastify.post('/-/v1/explain', async (request) => {
    const principal = await callers.of(request);
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
