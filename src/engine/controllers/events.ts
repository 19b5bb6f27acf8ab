import { EVENTS, type KubernetesObject, type ResourceClient } from '../../kubernetes/index.ts';
import { rfc3339 } from './conditions.ts';

/** v1 Event, as far as it is written here. */
interface Event extends KubernetesObject {
  involvedObject: {
    apiVersion: string;
    kind: string;
    namespace?: string;
    name: string;
    uid?: string;
    fieldPath?: string;
  };
  type: 'Normal' | 'Warning';
  reason: string;
  message: string;
  source: { component: string };
  firstTimestamp: string;
  lastTimestamp: string;
  count: number;
}

/** Tells users about an object in `kubectl describe` and `kubectl get events`. Never throws: an Event is never worth a failed pass. */
export interface EventRecorder {
  /** `fieldPath`: the part of the object that it is about, `spec.containers{app}`. */
  warn(object: KubernetesObject, reason: string, message: string, fieldPath?: string): void;
  note(object: KubernetesObject, reason: string, message: string, fieldPath?: string): void;
}

/** Writes v1 Events under the name of a component. */
export function createEventRecorder(
  client: ResourceClient,
  component: string,
  now: () => Date,
  failed: (what: string, error: unknown) => void,
): EventRecorder {
  function record(
    type: Event['type'],
    { apiVersion, kind, metadata }: KubernetesObject,
    reason: string,
    message: string,
    fieldPath: string | undefined,
  ): void {
    const { name, namespace = 'default', uid } = metadata;
    const at = rfc3339(now());
    const event: Event = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: '', generateName: `${name}.`, namespace },
      involvedObject: {
        apiVersion,
        kind,
        namespace,
        name,
        ...(uid === undefined ? {} : { uid }),
        ...(fieldPath === undefined ? {} : { fieldPath }),
      },
      type,
      reason,
      message: message.slice(0, 1024),
      source: { component },
      firstTimestamp: at,
      lastTimestamp: at,
      count: 1,
    };
    client.create(EVENTS, event).catch((error) => failed(`event ${reason} of ${namespace}/${name}`, error));
  }

  return {
    warn: (object, reason, message, fieldPath) => record('Warning', object, reason, message, fieldPath),
    note: (object, reason, message, fieldPath) => record('Normal', object, reason, message, fieldPath),
  };
}
