import type { Status } from './types.ts';

/** Reasons that Kubernetes gives to HTTP statuses (k8s.io/apimachinery/pkg/api/errors, NewGenericServerResponse). */
const REASONS: Record<number, string> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  406: 'NotAcceptable',
  409: 'Conflict',
  410: 'Expired',
  413: 'RequestEntityTooLarge',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

/**
 * The Status of a failed answer: its body if that is one, else made from the HTTP status and what came. Every 410 has the reason
 * `Expired`, whether the server calls it that or `Gone`.
 */
export function statusOf(statusCode: number, body: string, call: string): Status {
  const parsed = parse(body);
  const status: Status = {
    apiVersion: 'v1',
    kind: 'Status',
    metadata: {},
    status: 'Failure',
    reason: REASONS[statusCode] ?? 'Unknown',
    message: `${call} answered ${statusCode}${body.trim() === '' ? '' : `: ${body.trim().slice(0, 200)}`}`,
    ...parsed,
    code: parsed?.code ?? statusCode,
  };
  return status.code === 410 ? { ...status, reason: 'Expired' } : status;
}

function parse(body: string): Partial<Status> | undefined {
  if (!body.trimStart().startsWith('{')) return undefined;
  try {
    const value = JSON.parse(body) as Partial<Status>;
    return value.kind === 'Status' ? value : undefined;
  } catch {
    return undefined;
  }
}
