import type { Sandbox, SandboxClaim } from '../../../kubernetes/index.ts';
import { conditionOf, mergeConditions, type WantedCondition } from '../conditions.ts';

type Status = NonNullable<SandboxClaim['status']>;

/** The conditions of a claim that this controller writes. */
const OWNED = ['Finished', 'Ready'];

/** Status of a claim that has a Sandbox: that one's conditions, under the claim's own generation (contract section 1.5). */
export function boundStatus(claim: SandboxClaim, sandbox: Sandbox, now: Date): Status {
  const ready = conditionOf(sandbox, 'Ready');
  const finished = conditionOf(sandbox, 'Finished');
  const observedGeneration = claim.metadata.generation ?? 0;
  const wanted: WantedCondition[] = [];
  if (finished !== undefined) wanted.push({ ...withoutTime(finished), observedGeneration });
  wanted.push({ ...readyFrom(ready), observedGeneration });
  const conditions = mergeConditions(claim.status?.conditions, wanted, now, OWNED);
  // When it finished counts for the claim's end: the Sandbox's own time, not that of this pass.
  const copied = conditions.find(({ type }) => type === 'Finished');
  if (copied !== undefined && finished?.lastTransitionTime !== undefined)
    copied.lastTransitionTime = finished.lastTransitionTime;
  const podIPs = sandbox.status?.podIPs ?? [];
  return { conditions, sandbox: { name: sandbox.metadata.name, ...(podIPs.length === 0 ? {} : { podIPs }) } };
}

/** Status of a claim that is not Ready for a reason of its own; it keeps its Sandbox's name unless that is gone. */
export function unreadyStatus(
  claim: SandboxClaim,
  { reason, message }: { reason: string; message: string },
  now: Date,
  sandboxGone = false,
): Status {
  const wanted: WantedCondition = {
    type: 'Ready',
    status: 'False',
    reason,
    message,
    observedGeneration: claim.metadata.generation ?? 0,
  };
  const conditions = mergeConditions(claim.status?.conditions, [wanted], now, ['Ready']);
  const { sandbox } = claim.status ?? {};
  return { conditions, ...(sandbox === undefined || sandboxGone ? {} : { sandbox }) };
}

/** When a claim ends, in milliseconds of the epoch: its shutdownTime, or a while after its Sandbox finished; the earlier. */
export function endsAtMs(claim: SandboxClaim): number | undefined {
  const { shutdownTime, ttlSecondsAfterFinished } = claim.spec.lifecycle ?? {};
  const finished = conditionOf(claim, 'Finished');
  const ends: number[] = [];
  if (shutdownTime !== undefined) ends.push(Date.parse(shutdownTime));
  if (ttlSecondsAfterFinished !== undefined && finished?.status === 'True')
    ends.push(Date.parse(finished.lastTransitionTime ?? '') + ttlSecondsAfterFinished * 1000);
  return ends.length === 0 ? undefined : Math.min(...ends);
}

function readyFrom(ready: WantedCondition | undefined): WantedCondition {
  if (ready === undefined)
    return { type: 'Ready', status: 'False', reason: 'SandboxNotReady', message: 'Sandbox is not ready' };
  if (ready.reason === 'SandboxExpired')
    return { ...withoutTime(ready), message: 'Underlying Sandbox resource has expired independently of the Claim.' };
  return withoutTime(ready);
}

function withoutTime({ type, status, reason, message }: WantedCondition): WantedCondition {
  return {
    type,
    status,
    ...(reason === undefined ? {} : { reason }),
    ...(message === undefined ? {} : { message }),
  };
}
