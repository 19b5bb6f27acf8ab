import type { Container, Pod } from '../../../kubernetes/index.ts';
import type { ContainerRuntime } from '../../runtime/index.ts';
import type { EventRecorder } from '../events.ts';
import type { HealthListener } from './health.ts';
import { fieldOf } from './pod-images.ts';

/** What becomes of a container that is not healthy: events as a kubelet has them, and its end, within its grace period. */
export function killUnhealthy(
  { runtime, events }: { runtime: ContainerRuntime; events: EventRecorder },
  pod: Pod,
  container: Container,
  id: string,
): Pick<HealthListener, 'unhealthy' | 'dead'> {
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
      runtime.stop(id, graceSeconds * 1000).catch((error: Error) => {
        events.warn(pod, 'FailedKillPod', `error killing container ${container.name}: ${error.message}`, field);
      });
    },
  };
}
