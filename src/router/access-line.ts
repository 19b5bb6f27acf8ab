import type { RequestOutcome } from './proxy/index.ts';

/** One line of the access log, as JSON. The path goes without its query: queries carry secrets. */
export function accessLine({
  request,
  connection,
  status,
  durationMs,
  sandbox,
  namespace,
  credentialId,
  problem,
  requestId,
  trace,
}: RequestOutcome): string {
  return JSON.stringify({
    time: new Date().toISOString(),
    method: request.method,
    path: (request.url ?? '').split('?', 1)[0],
    status,
    durationMs: Math.round(durationMs * 100) / 100,
    client: connection.remoteAddress,
    sandbox,
    namespace,
    credential: credentialId,
    code: problem?.code,
    requestId,
    traceId: trace?.traceId,
  });
}
