import {
  isApiError,
  POD_SNAPSHOT_MANUAL_TRIGGERS,
  type PodSnapshotManualTrigger,
  type ResourceClient,
} from '../../../kubernetes/index.ts';
import { conditionOf, mergeConditions } from '../conditions.ts';

/** What carrying out a trigger needs. */
export interface TriggerOptions {
  client: ResourceClient;
  now(): Date;
  /** Name of the PodSnapshot that was taken for this trigger before, by an engine that ended then. */
  takenBefore(triggerUid: string): string | undefined;
  /** Takes the snapshot and resolves with the name of its PodSnapshot. */
  take(pod: { namespace: string; name: string }, triggerUid: string): Promise<string>;
}

/** Whether there is nothing left to do for it. */
export function isOver(trigger: PodSnapshotManualTrigger): boolean {
  return conditionOf(trigger, 'Triggered') !== undefined;
}

/**
 * Carries out a PodSnapshotManualTrigger, once: Triggered=True/Complete with the snapshot's name, or Triggered=False/Failed with the cause
 * (contract section 4.5).
 */
export async function carryOut(trigger: PodSnapshotManualTrigger, options: TriggerOptions): Promise<void> {
  const { client, now } = options;
  const { uid = '', namespace = '' } = trigger.metadata;
  const say = async (status: 'True' | 'False', reason: string, message: string, created?: string) => {
    const wanted = [{ type: 'Triggered', status, reason, message }];
    const conditions = mergeConditions(trigger.status?.conditions, wanted, now());
    const snapshotCreated = created === undefined ? {} : { snapshotCreated: { name: created } };
    const patch = { metadata: { uid }, status: { conditions, ...snapshotCreated } };
    try {
      await client.patch(POD_SNAPSHOT_MANUAL_TRIGGERS, trigger.metadata, patch, {
        type: 'merge',
        subresource: 'status',
      });
    } catch (error) {
      if (!isApiError(error, 'NotFound') && !isApiError(error, 'Conflict')) throw error;
    }
  };
  let name = options.takenBefore(uid);
  if (name === undefined) {
    try {
      name = await options.take({ namespace, name: trigger.spec.targetPod }, uid);
    } catch (error) {
      return await say('False', 'Failed', (error as Error).message);
    }
  }
  await say('True', 'Complete', `PodSnapshot ${name} is taken`, name);
}
