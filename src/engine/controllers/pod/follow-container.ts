import type { Container, Probe } from '../../../kubernetes/index.ts';
import type { ContainerRuntime } from '../../runtime/index.ts';
import type { EventRecorder } from '../events.ts';
import { type DeadlyProbe, followHealth } from './health.ts';
import type { ContainerHooks, HookedContainer } from './hooks.ts';
import { killUnhealthy } from './kill-unhealthy.ts';
import { probeTarget } from './probe.ts';

/** What following a container needs. */
export interface FollowDependencies {
  runtime: ContainerRuntime;
  hooks: ContainerHooks;
  events: EventRecorder;
}

/** Who is told of a container that runs. */
export interface ContainerListener {
  /** Its `postStart` is over, or there is none to run. */
  hooked?(): void;
  /** It passed its startup probe, or has none. */
  started(): void;
  ready(ready: boolean): void;
  /** It ended; by one of its probes, or not. */
  ended(exitCode: number, failedProbe: boolean): Promise<void>;
}

/** Whether a container that runs has yet to start, in Kubernetes' sense. `isNew`: its processes were just started. */
export function startsLater(container: Container, isNew: boolean): boolean {
  return container.startupProbe !== undefined || awaitsHook(container, isNew);
}

/** Whether its `postStart` is to be run. */
export function awaitsHook(container: Container, isNew: boolean): boolean {
  return isNew && container.lifecycle?.postStart !== undefined;
}

/** Runs `postStart` of a new container, then watches its health (`withProbes`), and its end, until the signal aborts. */
export function followContainer(
  dependencies: FollowDependencies,
  place: HookedContainer,
  { isNew, withProbes }: { isNew: boolean; withProbes: boolean },
  listener: ContainerListener,
  signal: AbortSignal,
): void {
  const { runtime, hooks } = dependencies;
  const { id, container } = place;
  const deadly = killUnhealthy(dependencies, place);
  let failedProbe = false;
  const ofHealth = {
    ...deadly,
    started: () => listener.started(),
    ready: (ready: boolean) => listener.ready(ready),
    dead: (which: DeadlyProbe, probe: Probe) => {
      failedProbe = true;
      deadly.dead(which, probe);
    },
  };
  const live = async () => {
    if (awaitsHook(container, isNew) && !(await hooks.started(place, signal))) return;
    listener.hooked?.();
    await followHealth(probeTarget(runtime, place), ofHealth, signal);
  };
  if (withProbes) live().catch(() => {});
  runtime
    .wait(id, signal)
    .then((exitCode) => listener.ended(exitCode, failedProbe))
    .catch(() => {});
}
