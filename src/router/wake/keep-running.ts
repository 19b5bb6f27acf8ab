import type { SandboxWriter } from '../sandbox-writer.ts';
import type { Route, RoutingTable } from '../table/index.ts';
import { createRetryPause, isPassing } from './api-outage.ts';

/** What calling off the pauses of others needs. */
export interface KeepRunningOptions {
  table: Pick<RoutingTable, 'onChange' | 'find'>;
  writer: SandboxWriter;
  /** Told of each pause that was called off for requests under way. */
  calledOff(route: Route): void;
  failed(what: string, error: unknown): void;
}

/**
 * Calls off pauses that somebody else (another router, a command, kubectl) asks for while requests of this process are under way: by the patch that a request
 * of that moment would make. The engine gives it the time to come before it takes a snapshot; should it come too late, as while the API is away, it wakes the
 * sandbox in which those requests sleep, for which nobody else may ask. Returns what ends it.
 */
export function keepRunningWhileUsed({ table, writer, calledOff, failed }: KeepRunningOptions): () => void {
  const asked = new Set<string>();
  const ending = new AbortController();

  async function keep(namespace: string, name: string, uid: string): Promise<void> {
    const retryPause = createRetryPause(ending.signal);
    for (let attempts = 0; !ending.signal.aborted; attempts++) {
      const route = table.find(namespace, name);
      if (route?.sandbox.uid !== uid || !isTakenAway(route)) return;
      try {
        await writer.setRunning({ namespace, name }, true);
        calledOff(route);
        return;
      } catch (error) {
        if (attempts === 0) failed(`keeping ${namespace}/${name} awake for requests under way`, error);
        if (!isPassing(error)) return;
        await retryPause();
      }
    }
  }

  const close = table.onChange((namespace, name, route) => {
    if (route === undefined || !isTakenAway(route)) return;
    const { uid, generation } = route.sandbox;
    const once = `${uid}/${generation}`;
    if (asked.has(once)) return;
    asked.add(once);
    keep(namespace, name, uid).finally(() => asked.delete(once));
  });
  return () => {
    close();
    ending.abort();
  };
}

/** Others are about to pause it, or have asked for that, under a request of use. Who says that no request wakes it has the last word. */
function isTakenAway({ sandbox, activity, pausing }: Route): boolean {
  const { inFlight, quiet } = activity;
  const announced = sandbox.draining !== '' && sandbox.draining !== pausing?.announcement;
  const asked = !sandbox.running && pausing?.isAsked() !== true;
  return (announced || asked) && inFlight > quiet && sandbox.wakes && !sandbox.finished;
}
