import Fastify, { type FastifyInstance } from 'fastify';

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
  /** Settings that wait for the next start. */
  restartNeededFor: readonly string[];
  /** Processes that answer requests, where this one does not itself. */
  workers?: { wanted: number; listening: number };
}

/** What Prometheus reads. */
export interface MetricsText {
  contentType: string;
  metrics(): Promise<string>;
}

/** `/healthz`, `/readyz` and `/metrics`, apart from what clients reach. */
export function createAdminServer(readiness: () => Readiness, metrics: MetricsText): FastifyInstance {
  const admin = Fastify();
  admin.get('/healthz', () => ({ status: 'ok' }));
  admin.get('/readyz', (_request, reply) => {
    const now = readiness();
    reply.code(now.ready ? 200 : 503);
    return now;
  });
  admin.get('/metrics', async (_request, reply) => {
    reply.header('content-type', metrics.contentType);
    return await metrics.metrics();
  });
  return admin;
}
