import type { FastifyInstance } from 'fastify';
import { isTopNavigation, refusedAcrossOrigins } from '../browser/index.ts';
import { scanHeaders } from '../forward/index.ts';
import { ProblemError } from '../problem.ts';

/** Keeps pages of sandboxes, and of anybody else, away from what is the router's: nothing of it can be framed, or called from another origin. */
export function guardControlApi(fastify: FastifyInstance): void {
  fastify.addHook('onRequest', async ({ raw, method }, reply) => {
    reply.headers({
      'x-frame-options': 'DENY',
      'content-security-policy': "frame-ancestors 'none'",
      'cross-origin-resource-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
    });
    const { browser, host } = scanHeaders(raw.rawHeaders);
    if (browser === undefined || isTopNavigation(browser, method)) return;
    const detail = refusedAcrossOrigins(browser, { method, host, upgrade: raw.headers.upgrade !== undefined }, []);
    if (detail !== undefined) throw new ProblemError({ code: 'forbidden', detail });
  });
}
