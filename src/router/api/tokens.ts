import type { FastifyInstance } from 'fastify';
import { mintScopedToken, type ScopedTokenKey } from '../identity/index.ts';
import type { Tenants } from '../policy/index.ts';
import { ProblemError } from '../problem.ts';
import type { Callers } from './caller.ts';
import { endSecondsOf, timeOf } from './credential-requests.ts';
import * as schemas from './schemas.ts';

/** What minting tokens needs. */
export interface TokenRoutesOptions {
  /** The first mints; empty where there are none. */
  scopedTokenKeys(): readonly ScopedTokenKey[];
  tenants: Tenants;
}

/** `POST /-/v1/tokens`: a scoped token (contract section 3.4), for whoever may reach and wake the sandbox, or manages it. */
export function registerTokenRoutes(fastify: FastifyInstance, callers: Callers, options: TokenRoutesOptions): void {
  const schema = {
    summary: 'A token for one sandbox',
    body: schemas.tokenBody,
    response: { 201: schemas.tokenView, '4xx': schemas.problem },
  };
  fastify.post('/-/v1/tokens', { schema }, async (request, reply) => {
    const asked = request.body as { sandbox: string; namespace?: string; lifetime?: string };
    const { route, principal } = await callers.sandboxNamed(request, asked, ['wake', 'manage']);
    if (!principal.scopes.has('manage') && !principal.scopes.has('route'))
      throw new ProblemError({ code: 'forbidden', detail: 'This credential has no scope "route" or "manage".' });
    const [key] = options.scopedTokenKeys();
    if (key === undefined)
      throw new ProblemError({
        code: 'not_found',
        detail: 'This router mints no tokens: it has no --scoped-token-keys.',
      });
    const { namespace, name } = route.sandbox;
    // Scoped tokens are of the tenant who owns the namespace: without one nobody would be let in.
    if (options.tenants.ownerOf(namespace) === undefined)
      throw new ProblemError({ code: 'forbidden', detail: `No tenant owns the namespace ${namespace}.` });
    const expiresAtSeconds = endSecondsOf(principal, asked.lifetime, Date.now());
    const token = mintScopedToken(key, { namespace, name, expiresAtSeconds });
    reply.code(201).header('cache-control', 'no-store');
    callers.did(request, 'token', { namespace, sandbox: name });
    return { token, sandbox: name, namespace, expiresAt: timeOf(expiresAtSeconds) };
  });
}
