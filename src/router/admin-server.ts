import Fastify, { type FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';

/** How a router is, for `/readyz`. */
export interface Readiness {
  ready: boolean;
  draining: boolean;
  tableSynced: boolean;
  tableAgeSeconds: number;
  sandboxes: number;
  /** Pods that refused connections since they were last heard of. */
  suspectPods: number;
  /** Routers among which limits of tenants are divided. */
  limitsSharedBy: number;
  configurationRefusal: string | undefined;
}

/** `/healthz`, `/readyz` and `/metrics`, apart from what clients reach. */
export function createAdminServer(readiness: () => Readiness, registry: Registry): FastifyInstance {
  const admin = Fastify();
  admin.get('/healthz', () => ({ status: 'ok' }));
  admin.get('/readyz', (_request, reply) => {
    const now = readiness();
    reply.code(now.ready ? 200 : 503);
    return now;
  });
  admin.get('/metrics', async (_request, reply) => {
    reply.header('content-type', registry.contentType);
    return await registry.metrics();
  });
  return admin;
}
