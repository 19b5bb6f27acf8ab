import { isApiError, LAST_ACTIVE_ANNOTATION } from '../../../kubernetes/index.ts';
import type { SandboxWriter } from '../../sandbox-writer.ts';
import type { Route } from '../../table/index.ts';

/** What reporting activity needs. */
export interface ReporterOptions {
  writer: SandboxWriter;
  /** At most one write a sandbox in this time, from all routers together. */
  intervalMs: number;
  /** Idle timeout of a sandbox, 0 for never: nobody asks when those were used. */
  idleTimeoutMsOf(route: Route): number;
  failed(error: unknown): void;
}

/** Writes that may be under way at once: an API server that is slow is not flooded. */
const WRITES_AT_ONCE = 8;

/**
 * Tells all routers, through an annotation of the Sandbox, that it is used. A sandbox that was quiet for long is reported at once (its pause may be near),
 * one that is busy once an interval; what another router reported just now is not reported again.
 */
export function createActivityReporter({ writer, intervalMs, idleTimeoutMsOf, failed }: ReporterOptions) {
  const waiting = new Map<string, Route>();
  let underWay = 0;

  function write({ sandbox }: Route): Promise<void> {
    const { namespace, name, uid } = sandbox;
    const now = new Date();
    sandbox.reportedActiveMs = now.getTime();
    return writer.annotate({ namespace, name }, uid, { [LAST_ACTIVE_ANNOTATION]: now.toISOString() });
  }

  function pump(): void {
    for (const [uid, route] of waiting) {
      if (underWay >= WRITES_AT_ONCE) return;
      waiting.delete(uid);
      underWay++;
      write(route)
        .catch((error) => {
          // Deleted meanwhile, or another of the same name: nobody's activity.
          if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) failed(error);
        })
        .finally(() => {
          underWay--;
          pump();
        });
    }
  }

  return {
    /** Of the routes that were used, reports those of which nothing was told or heard for an interval by the monotonic clock. */
    report: (routes: readonly Route[], nowMs: number): void => {
      for (const route of routes) {
        const { activity, sandbox } = route;
        if (idleTimeoutMsOf(route) === 0 || (activity.reportedMs !== 0 && nowMs - activity.reportedMs < intervalMs))
          continue;
        // The record follows with the watch; until then the next round must not write again.
        activity.reportedMs = nowMs;
        activity.heardMs = nowMs;
        waiting.set(sandbox.uid, route);
      }
      pump();
    },
    pendingCount: () => waiting.size + underWay,
  };
}
