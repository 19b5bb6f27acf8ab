import type { ServerResponse } from 'node:http';
import { grpcStatus, isGrpc } from './grpc.ts';

/** Every reason for which the router answers by itself (design section 5), with its status and title. */
export const PROBLEMS = {
  bad_address: { status: 400, title: 'Bad address' },
  bad_header: { status: 400, title: 'Bad header' },
  bad_request: { status: 400, title: 'Bad request' },
  unauthenticated: { status: 401, title: 'Not authenticated' },
  forbidden: { status: 403, title: 'Forbidden' },
  egress_unlabelled: { status: 403, title: 'Egress class missing' },
  egress_forbidden: { status: 403, title: 'Egress class not allowed' },
  runtime_forbidden: { status: 403, title: 'Runtime class not allowed' },
  sandbox_not_found: { status: 404, title: 'Sandbox not found' },
  not_found: { status: 404, title: 'Not found' },
  claim_not_found: { status: 404, title: 'Claim not found' },
  pool_not_found: { status: 404, title: 'Warm pool not found' },
  snapshot_not_found: { status: 404, title: 'Snapshot not found' },
  claim_exists: { status: 409, title: 'Claim exists' },
  in_use: { status: 409, title: 'Sandbox is in use' },
  not_paused: { status: 409, title: 'Sandbox is not paused' },
  idempotency_mismatch: { status: 422, title: 'Idempotency key used before' },
  wake_disabled: { status: 409, title: 'Waking is disabled' },
  sandbox_finished: { status: 409, title: 'Sandbox has finished' },
  body_too_large: { status: 413, title: 'Body too large' },
  headers_too_large: { status: 431, title: 'Headers too large' },
  rate_limited: { status: 429, title: 'Rate limited' },
  too_many_held: { status: 429, title: 'Too many requests held' },
  too_many_awake: { status: 429, title: 'Too many sandboxes awake' },
  internal: { status: 500, title: 'Internal error' },
  not_served: { status: 501, title: 'Not served by the cluster' },
  upstream_refused: { status: 502, title: 'Sandbox refused the connection' },
  upstream_reset: { status: 502, title: 'Sandbox broke the connection' },
  upstream_invalid: { status: 502, title: 'Sandbox answered wrongly' },
  waking: { status: 503, title: 'Sandbox is still waking' },
  wake_failed: { status: 503, title: 'Sandbox could not be woken' },
  table_not_ready: { status: 503, title: 'Router is starting' },
  egress_unenforced: { status: 503, title: 'Egress class not enforced' },
  upstream_timeout: { status: 504, title: 'Sandbox timed out' },
} as const;

/** Stable code of a problem. */
export type ProblemCode = keyof typeof PROBLEMS;

/** What went wrong, for whoever asked. `detail` is readable and carries no secrets. */
export interface Problem {
  code: ProblemCode;
  detail: string;
  sandbox?: string | undefined;
  namespace?: string | undefined;
  retryAfterSeconds?: number;
  /** Values of `RateLimit-Policy` and `RateLimit`, where a quota is the reason. */
  rateLimit?: { policy: string; state: string };
  /** What of `Prefer` was followed (RFC 7240 section 3). */
  preferenceApplied?: string;
}

/** A problem thrown where returning it would obscure the way. */
export class ProblemError extends Error {
  readonly code: ProblemCode;
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.name = 'ProblemError';
    this.code = problem.code;
    this.problem = problem;
  }
}

/** The body and the headers of an answer: RFC 9457, or a small page where a browser navigates. */
export function renderProblem(
  problem: Problem,
  requestId: string,
  asPage: boolean,
): { status: number; headers: Record<string, string>; body: string } {
  const { status, title } = PROBLEMS[problem.code];
  const headers: Record<string, string> = { 'cache-control': 'no-store', 'x-request-id': requestId };
  if (problem.retryAfterSeconds !== undefined)
    headers['retry-after'] = String(Math.max(1, Math.ceil(problem.retryAfterSeconds)));
  if (problem.rateLimit !== undefined) {
    headers['ratelimit-policy'] = problem.rateLimit.policy;
    headers.ratelimit = problem.rateLimit.state;
  }
  if (problem.preferenceApplied !== undefined) headers['preference-applied'] = problem.preferenceApplied;
  if (status === 401) headers['www-authenticate'] = 'Bearer realm="sandbox-router"';
  if (asPage) {
    headers['content-type'] = 'text/html; charset=utf-8';
    headers['content-security-policy'] = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    return { status, headers, body: page(title, problem, requestId) };
  }
  headers['content-type'] = 'application/problem+json';
  const { code, detail, sandbox, namespace } = problem;
  const type = `urn:sandbox-router:problem:${code}`;
  return {
    status,
    headers,
    body: `${JSON.stringify({ type, title, status, detail, code, sandbox, namespace, requestId })}\n`,
  };
}

/**
 * Answers with a problem unless an answer has begun; then it is broken off, as nothing else would be honest. A call of gRPC gets its status. Returns the status
 * for the books.
 */
export function sendProblem(response: ServerResponse, problem: Problem, requestId: string, asPage = false): number {
  if (response.headersSent) {
    response.destroy();
    return response.statusCode;
  }
  const { status, headers, body } = renderProblem(problem, requestId, asPage);
  if (isGrpc(response.req)) {
    const { 'content-type': _type, ...others } = headers;
    const fields = { ...others, 'content-type': 'application/grpc', ...grpcStatus(problem, status) };
    for (const [name, value] of Object.entries(fields)) response.setHeader(name, value);
    // Head and end in one, as gRPC has an answer that is nothing but a status.
    response.statusCode = 200;
    response.end();
  } else {
    response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
    response.end(body);
  }
  return status;
}

/** A problem as bytes of HTTP/1.1, for sockets that asked for an upgrade. */
export function problemBytes(problem: Problem, requestId: string): string {
  const { status, headers, body } = renderProblem(problem, requestId, false);
  const lines = Object.entries({ ...headers, 'content-length': String(Buffer.byteLength(body)), connection: 'close' });
  return `HTTP/1.1 ${status} ${PROBLEMS[problem.code].title}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`;
}

function page(title: string, problem: Problem, requestId: string): string {
  const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem;color:#222}code{color:#666}</style>
<h1>${escapeHtml(title)}</h1><p>${escapeHtml(problem.detail)}</p><p><code>${problem.code} · ${escapeHtml(requestId)}</code></p></html>
`;
}
