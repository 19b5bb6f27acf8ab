import { type ApiError, isApiError } from '../../kubernetes/index.ts';

/** Pauses between attempts to reach an API server that does not answer. */
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 2000;

/** Whether the API server is away, overloaded or without its store, rather than against it. */
export function isPassing(error: unknown): error is ApiError {
  return (['Unreachable', 'ServiceUnavailable', 'Timeout', 'ServerTimeout', 'TooManyRequests'] as const).some((code) =>
    isApiError(error, code),
  );
}

/** Waits before each further attempt, longer each time, and not as long as others do; the signal ends a wait. */
export function createRetryPause(signal: AbortSignal): () => Promise<void> {
  let pauseMs = FIRST_RETRY_MS;
  return () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, pauseMs * (0.5 + Math.random() / 2));
    signal.addEventListener('abort', end);
    pauseMs = Math.min(LONGEST_RETRY_MS, pauseMs * 2);
    return promise;
  };
}
