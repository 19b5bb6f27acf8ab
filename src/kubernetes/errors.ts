import type { Status } from './types.ts';

/** A Kubernetes API error with its `Status` body. `code` is stable: the Status reason, e.g. `NotFound`, `Conflict`, `Invalid`. */
export class ApiError extends Error {
  readonly code: string;
  readonly statusCode: number;
  readonly status: Status;

  constructor(status: Status) {
    super(status.message ?? status.reason ?? `API error ${status.code}`);
    this.name = 'ApiError';
    this.code = status.reason ?? 'Unknown';
    this.statusCode = status.code;
    this.status = status;
  }
}

/** True for an ApiError with this `Status` reason. */
export function isApiError(error: unknown, reason?: string): error is ApiError {
  return error instanceof ApiError && (reason === undefined || error.code === reason);
}
