import type { Container, LifecycleHandler, Pod } from '../../../kubernetes/index.ts';
import type { ContainerRuntime } from '../../runtime/index.ts';
import type { EventRecorder } from '../events.ts';
import { httpGet } from './http-get.ts';
import { fieldOf } from './pod-images.ts';
import { type ProbeTarget, probeTarget } from './probe.ts';
import { sleep } from './readiness.ts';

/** One container of a Pod, and where it runs. */
export interface HookedContainer {
  pod: Pod;
  container: Container;
  id: string;
  address: string;
}

/** `lifecycle` of containers: what they do after their start and before their stop. */
export interface ContainerHooks {
  /**
   * Runs `postStart` of a container that was just started. False if it failed, with the events of a kubelet, and the container is ended within its grace period:
   * whoever waits for its end takes it from there.
   */
  started(place: HookedContainer, signal: AbortSignal): Promise<boolean>;
  /** Runs `preStop` of a container that runs, then stops it: both within its grace period, without which there is no hook. */
  stop(place: HookedContainer, gracePeriodMs: number): Promise<void>;
}

/** What is left after a hook that took its time (minimumGracePeriodInSeconds of pkg/kubelet/kuberuntime). */
const LEAST_GRACE_MS = 2000;
/** A hook has no time limit but the end of its container. */
const UNBOUNDED_MS = 2 ** 31 - 1;

/** Creates {@link ContainerHooks}. */
export function createContainerHooks({
  runtime,
  events,
}: {
  runtime: ContainerRuntime;
  events: EventRecorder;
}): ContainerHooks {
  const targetOf = (place: HookedContainer) => probeTarget(runtime, place);

  async function stop(place: HookedContainer, gracePeriodMs: number): Promise<void> {
    const { pod, container, id } = place;
    const hook = container.lifecycle?.preStop;
    if (hook === undefined || gracePeriodMs <= 0) return await runtime.stop(id, gracePeriodMs);
    const startedAt = performance.now();
    const over = new AbortController();
    const ended = runtime.wait(id, over.signal).then(
      () => true,
      () => true,
    );
    const outOfTime = sleep(gracePeriodMs, over.signal).then(() => true);
    const succeeded = await Promise.race([hookSucceeds(hook, targetOf(place), over.signal), ended, outOfTime]);
    over.abort();
    // What a hook says may hold secrets, so a kubelet tells nothing of it.
    if (!succeeded) events.warn(pod, 'FailedPreStopHook', 'PreStopHook failed', fieldOf(pod, container));
    await runtime.stop(id, Math.max(LEAST_GRACE_MS, gracePeriodMs - (performance.now() - startedAt)));
  }

  return {
    stop,

    started: async (place, signal) => {
      const { pod, container } = place;
      const hook = container.lifecycle?.postStart;
      if (hook === undefined || (await hookSucceeds(hook, targetOf(place), signal)) || signal.aborted) return true;
      const field = fieldOf(pod, container);
      events.warn(pod, 'FailedPostStartHook', 'PostStartHook failed', field);
      events.note(pod, 'Killing', 'FailedPostStartHook', field);
      stop(place, (pod.spec.terminationGracePeriodSeconds ?? 30) * 1000).catch((error: Error) => {
        events.warn(pod, 'FailedKillPod', `error killing container ${container.name}: ${error.message}`, field);
      });
      return false;
    },
  };
}

/** A command that ends with 0, a request that is answered in whatever way, or a wait (pkg/kubelet/lifecycle, handlers.go). */
async function hookSucceeds(hook: LifecycleHandler, target: ProbeTarget, signal: AbortSignal): Promise<boolean> {
  try {
    if (hook.exec !== undefined) return (await target.exec(hook.exec.command, UNBOUNDED_MS)) === 0;
    if (hook.httpGet !== undefined) await httpGet(hook.httpGet, target, signal);
    else if (hook.sleep !== undefined) await sleep(hook.sleep.seconds * 1000, signal);
    // `tcpSocket` is in the API for the sake of old manifests, and always fails.
    else return false;
    return true;
  } catch {
    return false;
  }
}
