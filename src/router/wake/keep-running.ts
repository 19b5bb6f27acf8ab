import type { SandboxWriter } from '../sandbox-writer.ts';
import type { Route, RoutingTable } from '../table/index.ts';

/** What calling off the pauses of others needs. */
export interface KeepRunningOptions {
  table: Pick<RoutingTable, 'onChange'>;
  writer: SandboxWriter;
  /** Told of each pause that was called off for requests under way. */
  calledOff(route: Route): void;
  failed(what: string, error: unknown): void;
}

/**
 * Calls off pauses that somebody else (another router, a command, kubectl) asks for while requests of this process are under way: by the patch that a request
 * of that moment would make. The engine gives it the time to come before it takes a snapshot. Returns what ends it.
 */
export function keepRunningWhileUsed({ table, writer, calledOff, failed }: KeepRunningOptions): () => void {
  const asked = new Set<string>();

  return table.onChange((namespace, name, route) => {
    if (route === undefined || !isTakenAway(route)) return;
    const { uid, generation } = route.sandbox;
    const once = `${uid}/${generation}`;
    if (asked.has(once)) return;
    asked.add(once);
    writer
      .setRunning({ namespace, name }, true)
      .then(
        () => calledOff(route),
        (error) => failed(`keeping ${namespace}/${name} awake for requests under way`, error),
      )
      .finally(() => asked.delete(once));
  });
}

/** Others are about to pause it, or have asked for that, under a request of use. Who says that no request wakes it has the last word. */
function isTakenAway({ sandbox, activity, pausing }: Route): boolean {
  const { inFlight, quiet } = activity;
  const announced = sandbox.draining !== '' && sandbox.draining !== pausing?.announcement;
  const asked = !sandbox.running && !sandbox.suspended && pausing?.isAsked() !== true;
  return (announced || asked) && inFlight > quiet && sandbox.wakes && !sandbox.finished;
}
