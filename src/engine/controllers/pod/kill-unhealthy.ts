import type { EventRecorder } from '../events.ts';
import type { HealthListener } from './health.ts';
import type { ContainerHooks, HookedContainer } from './hooks.ts';
import { fieldOf } from './pod-images.ts';

/** What becomes of a container that is not healthy: events as a kubelet has them, and its end, within its grace period. */
export function killUnhealthy(
  { hooks, events }: { hooks: ContainerHooks; events: EventRecorder },
  place: HookedContainer,
): Pick<HealthListener, 'unhealthy' | 'dead'> {
  const { pod, container } = place;
  const field = fieldOf(pod, container);
  return {
    unhealthy: (which, problem) => {
      const name = which === 'startup' ? 'Startup' : 'Liveness';
      events.warn(pod, 'Unhealthy', `${name} probe failed: ${problem}`, field);
    },
    dead: (which, probe) => {
      events.note(pod, 'Killing', `Container ${container.name} failed ${which} probe, will be restarted`, field);
      const graceSeconds = probe.terminationGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
      // Whoever waits for its end takes it from there.
      hooks.stop(place, graceSeconds * 1000).catch((error: Error) => {
        events.warn(pod, 'FailedKillPod', `error killing container ${container.name}: ${error.message}`, field);
      });
    },
  };
}
